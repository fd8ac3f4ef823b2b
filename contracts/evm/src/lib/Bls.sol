// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";

/// @title BLS12-381 signatures with public keys in G1 and signatures in G2.
/// @notice Points travel in EIP-2537's form, uncompressed and big-endian: 128 bytes for a key, 256 for a signature.
/// Messages are hashed to G2 with the suite BLS_SIG_BLS12381G2_XMD:SHA-256_SSWU_RO_NUL_ of
/// draft-irtf-cfrg-bls-signature. A call to an address without a precompile succeeds with empty returned data, so
/// every call here and in Solady's library looks at the size of what came back.
library Bls {
    /// @notice The chain lacks the BLS12-381 precompiles of EIP-2537 (Prague).
    error PrecompileMissing();

    uint256 internal constant KEY_BYTES = 128;
    uint256 internal constant SIGNATURE_BYTES = 256;

    // The field's modulus p and (p - 1) / 2, each in two words.
    uint256 private constant P_HIGH = 0x1a0111ea397fe69a4b1ba7b6434bacd7;
    uint256 private constant P_LOW = 0x64774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab;
    uint256 private constant HALF_P_HIGH = 0x0d0088f51cbff34d258dd3db21a5d66b;
    uint256 private constant HALF_P_LOW = 0xb23ba5c279c2895fb39869507b587b120f55ffff58a9ffffdcff7fffffffd555;

    // The negated generator of G1: e(-G, signature) * e(key, H(message)) = 1 for a good signature.
    bytes32 private constant NEGATED_G1_X_HIGH = 0x0000000000000000000000000000000017f1d3a73197d7942695638c4fa9ac0f;
    bytes32 private constant NEGATED_G1_X_LOW = 0xc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb;
    bytes32 private constant NEGATED_G1_Y_HIGH = 0x00000000000000000000000000000000114d1d6855d545a8aa7d76c8cf2e21f2;
    bytes32 private constant NEGATED_G1_Y_LOW = 0x67816aef1db507c96655b9d5caac42364e6f38ba0ecb751bad54dcd6b939c2ca;

    /// @notice Reverts with `PrecompileMissing` on a chain where no signature could ever be verified.
    function requirePrecompiles() internal view {
        // Identity plus identity: the cheapest question that only the precompile answers with a point.
        (bool success, bytes memory sum) = BLS.BLS12_G1ADD.staticcall(new bytes(2 * KEY_BYTES));
        if (!success || sum.length != KEY_BYTES) revert PrecompileMissing();
    }

    /// @notice Whether these are the 128 bytes of a usable key: on the curve, of the right subgroup, not the identity.
    function isKey(bytes memory key) internal view returns (bool) {
        if (key.length != KEY_BYTES || isIdentity(keyAt(key, 0))) return false;
        // Unlike an addition, a multiplication (by one) checks the subgroup.
        (bool success, bytes memory product) = BLS.BLS12_G1MSM.staticcall(abi.encodePacked(key, uint256(1)));
        if (success && product.length != KEY_BYTES) revert PrecompileMissing();
        return success;
    }

    /// @notice The point at `index` of packed keys, in place: it shares their memory and is not checked.
    function keyAt(bytes memory keys, uint256 index) internal pure returns (BLS.G1Point memory key) {
        return keyAt(keys, 0, index);
    }

    /// @notice The same for keys that begin `offset` bytes into `data`.
    function keyAt(bytes memory data, uint256 offset, uint256 index) internal pure returns (BLS.G1Point memory key) {
        assembly ("memory-safe") {
            key := add(add(add(data, 0x20), offset), mul(index, 0x80))
        }
    }

    function isIdentity(BLS.G1Point memory point) internal pure returns (bool) {
        return point.x_a | point.x_b | point.y_a | point.y_b == 0;
    }

    /// @notice `left - right`, two points of the curve.
    function subtract(BLS.G1Point memory left, BLS.G1Point memory right) internal view returns (BLS.G1Point memory) {
        if (isIdentity(right)) return left;
        // No point of the group has y = 0, so p - y is a field element.
        uint256 high = uint256(right.y_a);
        uint256 low = uint256(right.y_b);
        unchecked {
            uint256 borrow = low > P_LOW ? 1 : 0;
            return
                BLS.add(left, BLS.G1Point(right.x_a, right.x_b, bytes32(P_HIGH - high - borrow), bytes32(P_LOW - low)));
        }
    }

    /// @notice The 48 bytes of a key in the compressed form of the Zcash serialisation, as off-chain code has it.
    /// @param key 128 bytes of a point of the curve that is not the identity.
    function compress(bytes memory key) internal pure returns (bytes memory) {
        return compress(keyAt(key, 0));
    }

    /// @notice The same for a point.
    function compress(BLS.G1Point memory point) internal pure returns (bytes memory) {
        uint256 high = uint256(point.y_a);
        bool isLarger = high > HALF_P_HIGH || (high == HALF_P_HIGH && uint256(point.y_b) > HALF_P_LOW);
        uint256 flags = isLarger ? 0xa0 : 0x80;
        return abi.encodePacked(uint128(uint256(point.x_a) | (flags << 120)), point.x_b);
    }

    /// @notice Whether `signature` is the one of `key`, a point of the right subgroup, over `message`.
    /// @dev False also for the identity key, which signs everything, and for a signature that is not 256 bytes, not
    /// on the curve or not of the right subgroup (the pairing precompile refuses those).
    function verify(BLS.G1Point memory key, bytes memory message, bytes memory signature) internal view returns (bool) {
        return _pairs(key, BLS.hashToG2(message), signature);
    }

    /// @notice Whether `signature` is the aggregate of `key`'s over all of these messages, at least one.
    /// @dev `e(key, H(a)) * e(key, H(b))` is `e(key, H(a) + H(b))`: one pairing however many messages.
    function verifyMany(BLS.G1Point memory key, bytes[] memory messages, bytes memory signature)
        internal
        view
        returns (bool)
    {
        if (messages.length == 0) return false;
        BLS.G2Point memory sum = BLS.hashToG2(messages[0]);
        for (uint256 i = 1; i < messages.length; ++i) {
            sum = BLS.add(sum, BLS.hashToG2(messages[i]));
        }
        return _pairs(key, sum, signature);
    }

    function _pairs(BLS.G1Point memory key, BLS.G2Point memory hash, bytes memory signature)
        private
        view
        returns (bool)
    {
        if (signature.length != SIGNATURE_BYTES || isIdentity(key)) return false;
        bool success;
        uint256 returned;
        uint256 verdict;
        assembly ("memory-safe") {
            let input := mload(0x40)
            mstore(input, NEGATED_G1_X_HIGH)
            mstore(add(input, 0x20), NEGATED_G1_X_LOW)
            mstore(add(input, 0x40), NEGATED_G1_Y_HIGH)
            mstore(add(input, 0x60), NEGATED_G1_Y_LOW)
            mcopy(add(input, 0x80), add(signature, 0x20), 0x100)
            mcopy(add(input, 0x180), key, 0x80)
            mcopy(add(input, 0x200), hash, 0x100)
            success := staticcall(gas(), 0x0f, input, 0x300, 0x00, 0x20)
            returned := returndatasize()
            verdict := mload(0x00)
        }
        if (!success) return false;
        if (returned != 32) revert PrecompileMissing();
        return verdict == 1;
    }
}
