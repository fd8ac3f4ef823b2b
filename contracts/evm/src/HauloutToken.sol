// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title The token that is staked on storage nodes and that storage is paid with.
/// @notice A plain ERC-20 with 18 decimals. Whoever owns it may mint; a deployment that wants a fixed supply
/// mints once and renounces the ownership.
contract HauloutToken is ERC20, Ownable {
    /// @param owner The account that may mint.
    constructor(address owner) ERC20("Haulout", "HAUL") Ownable(owner) {}

    /// @notice Creates `amount` new units for `account`; only the owner may.
    function mint(address account, uint256 amount) external onlyOwner {
        _mint(account, amount);
    }
}
