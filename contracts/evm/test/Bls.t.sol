// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {BLS} from "solady/utils/ext/ithaca/BLS.sol";
import {Bls} from "src/lib/Bls.sol";
import {Signing} from "test/Base.t.sol";

contract BlsHarness {
    function requirePrecompiles() external view {
        Bls.requirePrecompiles();
    }

    function isKey(bytes memory key) external view returns (bool) {
        return Bls.isKey(key);
    }

    function compress(bytes memory key) external pure returns (bytes memory) {
        return Bls.compress(key);
    }

    function verify(bytes memory key, bytes memory message, bytes memory signature) external view returns (bool) {
        return Bls.verify(Bls.keyAt(key, 0), message, signature);
    }

    function subtract(bytes memory left, bytes memory right) external view returns (bytes memory) {
        return abi.encode(Bls.subtract(Bls.keyAt(left, 0), Bls.keyAt(right, 0)));
    }
}

contract BlsTest is Signing {
    BlsHarness private bls = new BlsHarness();

    // By py_ecc, over the message "haulout".
    uint256 private constant SECRET = 0x263dbd792f5b1be47ed85f8938c0f29586af0d3ac7b977f21c278fe1462040e3;
    bytes private constant COMPRESSED =
        hex"a491d1b0ecd9bb917989f0e74f0dea0422eac4a873e5e2644f368dffb9a6e20fd6e10c1b77654d067c0618f6e5a7f79a";
    bytes private constant SIGNATURE = hex"0000000000000000000000000000000003ec5e15706daeb7cf5562ff80cfb6e73a25a19c9846812372738a08f0669b321ea9a1efb1388b9e582f447f0fcb1a7f"
        hex"00000000000000000000000000000000163497e4f44950eb32d3177ede200610e48f1546a7da16ca4b1f34db962eef306168a70937132772b0110a0c81a06225"
        hex"00000000000000000000000000000000042c5eb6bdae3aa93b1e10a4069e96dfa0fdd0c50b3f5d6f741912270b955a0712ce2c6219f77cb6a1cb24895e8f2e93"
        hex"0000000000000000000000000000000003ced09621d502faade7b774aedbd2f51e0552554bef778a23718d54f595ae9cfda3e7bcacf78d36fc83b1de0aa46267";

    function test_verify_accepts_another_implementations_signature() public view {
        vm.assertEq(_sign(SECRET, "haulout"), SIGNATURE);
        vm.assertTrue(bls.verify(_publicKey(SECRET), "haulout", SIGNATURE));
    }

    function test_compress_agrees_with_another_implementation() public view {
        vm.assertEq(bls.compress(_publicKey(SECRET)), COMPRESSED);
    }

    function test_compress_tells_a_key_from_its_negation() public view {
        bytes memory key = bls.compress(_publicKey(SECRET));
        bytes memory negated = bls.compress(_publicKey(ORDER - SECRET));
        vm.assertEq(uint8(key[0] ^ negated[0]), 0x20);
        for (uint256 i = 1; i < 48; ++i) {
            vm.assertEq(uint8(key[i]), uint8(negated[i]));
        }
    }

    function test_verify_refuses_another_message() public view {
        vm.assertFalse(bls.verify(_publicKey(SECRET), "hauloud", SIGNATURE));
    }

    function test_verify_refuses_another_key() public view {
        vm.assertFalse(bls.verify(_publicKey(SECRET + 1), "haulout", SIGNATURE));
    }

    function test_verify_refuses_the_identity_key_with_the_identity_signature() public view {
        vm.assertFalse(bls.verify(new bytes(128), "haulout", new bytes(256)));
    }

    function test_verify_refuses_the_identity_signature() public view {
        vm.assertFalse(bls.verify(_publicKey(SECRET), "haulout", new bytes(256)));
    }

    function test_verify_refuses_a_signature_outside_the_subgroup() public view {
        vm.assertFalse(bls.verify(_publicKey(SECRET), "haulout", OUTSIDE_G2));
    }

    function test_verify_refuses_a_stretched_signature() public view {
        vm.assertFalse(bls.verify(_publicKey(SECRET), "haulout", abi.encodePacked(SIGNATURE, uint8(0))));
    }

    function test_verify_refuses_a_flipped_bit(uint256 bit) public view {
        bytes memory signature = SIGNATURE;
        bit = _between(bit, 0, 2047);
        signature[bit / 8] ^= bytes1(uint8(1 << (bit % 8)));
        vm.assertFalse(bls.verify(_publicKey(SECRET), "haulout", signature));
    }

    function test_isKey_accepts_a_key() public view {
        vm.assertTrue(bls.isKey(_publicKey(SECRET)));
    }

    function test_isKey_refuses_the_identity() public view {
        vm.assertFalse(bls.isKey(new bytes(128)));
    }

    function test_isKey_refuses_a_point_outside_the_subgroup() public view {
        vm.assertFalse(bls.isKey(OUTSIDE_G1));
    }

    function test_isKey_refuses_a_point_off_the_curve() public view {
        bytes memory key = _publicKey(SECRET);
        key[127] ^= 0x01;
        vm.assertFalse(bls.isKey(key));
    }

    function test_isKey_refuses_a_coordinate_above_the_modulus() public view {
        // y + p: the same element, not in its one valid form.
        bytes memory key = GENERATOR;
        uint256 pHigh = 0x1a0111ea397fe69a4b1ba7b6434bacd7;
        uint256 pLow = 0x64774b84f38512bf6730d2a0f6b0f6241eabfffeb153ffffb9feffffffffaaab;
        BLS.G1Point memory point = Bls.keyAt(key, 0);
        unchecked {
            uint256 low = uint256(point.y_b) + pLow;
            point.y_a = bytes32(uint256(point.y_a) + pHigh + (low < pLow ? 1 : 0));
            point.y_b = bytes32(low);
        }
        vm.assertFalse(bls.isKey(key));
    }

    function test_isKey_refuses_another_length() public view {
        vm.assertFalse(bls.isKey(COMPRESSED));
        vm.assertFalse(bls.isKey(abi.encodePacked(_publicKey(SECRET), uint8(0))));
    }

    function test_subtract_agrees_with_the_secrets(uint256 left, uint256 right) public view {
        left = _between(left, 1, ORDER - 1);
        right = _between(right, 0, ORDER - 1);
        bytes memory difference = bls.subtract(_publicKey(left), _publicKey(right));
        vm.assertEq(difference, _publicKey(addmod(left, ORDER - right, ORDER)));
    }

    function test_subtract_a_point_from_itself_is_the_identity() public view {
        vm.assertEq(bls.subtract(GENERATOR, GENERATOR), new bytes(128));
    }

    function test_requirePrecompiles_reverts_where_they_answer_with_nothing() public {
        bls.requirePrecompiles();
        vm.mockCall(BLS.BLS12_G1ADD, "", "");
        vm.expectRevert(Bls.PrecompileMissing.selector);
        bls.requirePrecompiles();
    }

    function test_isKey_reverts_where_the_precompile_answers_with_nothing() public {
        bytes memory key = _publicKey(SECRET);
        vm.mockCall(BLS.BLS12_G1MSM, "", "");
        vm.expectRevert(Bls.PrecompileMissing.selector);
        bls.isKey(key);
    }

    function test_verify_reverts_where_the_pairing_answers_with_nothing() public {
        bytes memory key = _publicKey(SECRET);
        vm.mockCall(BLS.BLS12_PAIRING_CHECK, "", "");
        vm.expectRevert(Bls.PrecompileMissing.selector);
        bls.verify(key, "haulout", SIGNATURE);
    }

    function test_verify_reverts_where_mapping_answers_with_nothing() public {
        bytes memory key = _publicKey(SECRET);
        vm.mockCall(BLS.BLS12_MAP_FP2_TO_G2, "", "");
        vm.expectRevert(BLS.MapFp2ToG2Failed.selector);
        bls.verify(key, "haulout", SIGNATURE);
    }
}
