// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Strings} from "@openzeppelin/contracts/utils/Strings.sol";
import {Contact} from "src/lib/Contact.sol";
import {Signing} from "test/Base.t.sol";

contract ContactHarness {
    function isName(bytes calldata name) external pure returns (bool) {
        return Contact.isName(name);
    }

    function isNetworkAddress(bytes calldata given) external pure returns (bool) {
        return Contact.isNetworkAddress(given);
    }
}

/// @notice What a node may be called, and where it may say it is reached.
contract ContactTest is Signing {
    ContactHarness private harness = new ContactHarness();

    // Names

    function test_isName_takes_printable_ascii() public view {
        string[5] memory good = ["a", "~", "baffin", "Baffin Island, 7!", string(_filled(64, "x"))];
        for (uint256 i; i < good.length; ++i) {
            vm.assertTrue(harness.isName(bytes(good[i])));
        }
    }

    function test_isName_refuses_lengths_and_spaces_at_the_ends() public view {
        string[5] memory bad = ["", " ", " a", "a ", string(_filled(65, "x"))];
        for (uint256 i; i < bad.length; ++i) {
            vm.assertFalse(harness.isName(bytes(bad[i])));
        }
    }

    function test_isName_takes_just_the_printable_characters(uint8 character, uint8 place) public view {
        bytes memory name = _filled(20, "x");
        name[1 + place % 18] = bytes1(character);
        vm.assertTrue(harness.isName(name) == (character >= 0x20 && character < 0x7f));
    }

    function test_isName_takes_nothing_but_printable_characters(bytes calldata name) public view {
        bool good = name.length >= 1 && name.length <= 64;
        for (uint256 i; i < name.length; ++i) {
            bool isSpace = name[i] == " " && i != 0 && i != name.length - 1;
            if (!isSpace && (name[i] < "!" || name[i] > "~")) good = false;
        }
        vm.assertTrue(harness.isName(name) == good);
    }

    // Network addresses

    function test_isNetworkAddress_takes_scheme_host_and_port() public view {
        string[8] memory good = [
            "http://node.example:9000",
            "https://node.example",
            "http://NODE_1.x-y",
            "http://203.0.113.7:1",
            "http://[2001:db8::1]:65535",
            "https://[::FFFF:1.2.3.4]",
            "http://a",
            "https://a:80"
        ];
        for (uint256 i; i < good.length; ++i) {
            vm.assertTrue(harness.isNetworkAddress(bytes(good[i])));
        }
    }

    function test_isNetworkAddress_refuses_anything_else() public view {
        string[30] memory bad = [
            "",
            "/",
            "http",
            "http:/",
            "http://",
            "https://",
            "http:///x",
            "ftp://node:1",
            "HTTP://node:1",
            "node.example:9000",
            " http://node:1",
            "http://node:1 ",
            "http://node:1/",
            "http://node/path",
            "http://node?query",
            "http://node#part",
            "http://user@node:1",
            "http://user:word@node:1",
            "http://[v1.a]@",
            "http://[]:1",
            "http://[::1",
            "http://[::1]9",
            "http://::1",
            "http://node:",
            "http://node:0",
            "http://node:01",
            "http://node:65536",
            "http://node:100000",
            "http://node:1:1",
            "http://:1"
        ];
        for (uint256 i; i < bad.length; ++i) {
            vm.assertFalse(harness.isNetworkAddress(bytes(bad[i])));
        }
    }

    function test_isNetworkAddress_takes_256_bytes_at_most() public view {
        vm.assertTrue(harness.isNetworkAddress(abi.encodePacked("http://", _filled(249, "a"))));
        vm.assertFalse(harness.isNetworkAddress(abi.encodePacked("http://", _filled(250, "a"))));
    }

    function test_isNetworkAddress_takes_every_port(uint16 port) public view {
        bytes memory given = abi.encodePacked("http://node:", Strings.toString(port));
        vm.assertTrue(harness.isNetworkAddress(given) == (port != 0));
    }

    function test_isNetworkAddress_takes_no_larger_port(uint256 port) public view {
        if (port <= type(uint16).max) port += 1 << 16;
        vm.assertFalse(harness.isNetworkAddress(abi.encodePacked("http://node:", Strings.toString(port))));
    }

    function test_isNetworkAddress_takes_just_the_characters_of_hosts(uint8 character, uint8 place) public view {
        bytes memory given = "http://node.example";
        bytes1 put = bytes1(character);
        given[7 + place % 12] = put;
        bool isLetter = (put >= "a" && put <= "z") || (put >= "A" && put <= "Z");
        bool good = isLetter || (put >= "0" && put <= "9") || put == "-" || put == "." || put == "_";
        if (put == ":" || put == "[") return; // these begin a port and an IPv6 address
        vm.assertTrue(harness.isNetworkAddress(given) == good);
    }

    function test_isNetworkAddress_of_anything_reverts_never(bytes calldata given, bool isHttps) public view {
        harness.isNetworkAddress(given);
        harness.isNetworkAddress(abi.encodePacked(isHttps ? "https://" : "http://", given));
    }

    function _filled(uint256 length, bytes1 character) private pure returns (bytes memory text) {
        text = new bytes(length);
        for (uint256 i; i < length; ++i) {
            text[i] = character;
        }
    }
}
