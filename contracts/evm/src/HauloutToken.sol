// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title The token that is staked on storage nodes and that storage is paid with.
/// @notice An ERC-20 with 18 decimals and permits (EIP-2612). Its owner may mint, and so decide who is elected: on a
/// public network that is the timelock, or no account once the ownership is renounced.
contract HauloutToken is ERC20Permit, Ownable {
    /// @param owner The account that may mint.
    /// @param holder The account that has all of the token to begin with.
    /// @param supply How much that is, in the smallest unit; may be 0.
    constructor(address owner, address holder, uint256 supply)
        ERC20("Haulout", "HAUL")
        ERC20Permit("Haulout")
        Ownable(owner)
    {
        _mint(holder, supply);
    }

    /// @notice Creates `amount` new units for `account`; only the owner may.
    function mint(address account, uint256 amount) external onlyOwner {
        _mint(account, amount);
    }

    /// @notice Destroys `amount` units of the sender's.
    function burn(uint256 amount) external {
        _burn(msg.sender, amount);
    }
}
