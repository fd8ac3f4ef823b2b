"""How bytes become a grid of symbols and come back: encoding, decoding, repair of single slivers. No I/O."""

from storage.redstuff.code import EncodedBlob, RedStuff
from storage.redstuff.decoding import Decoding
from storage.redstuff.errors import (
    InconsistentBlob,
    InvalidEncoding,
    InvalidProof,
    RedStuffError,
    RootMismatch,
    TooFewShards,
    TooLarge,
    WrongSize,
)
from storage.redstuff.inconsistency import InconsistencyProof, ProvenSymbol
from storage.redstuff.large import LargeBlob, LargeSliver
from storage.redstuff.merkle import MerkleProof, merkle_root
from storage.redstuff.metadata import BlobMetadata, EncodedMetadata, SingleRoot, SliverData, SliverRoots
from storage.redstuff.parameters import Axis, BlobId, Parameters, blob_id_text, parse_blob_id

__all__ = [
    "Axis",
    "BlobId",
    "BlobMetadata",
    "Decoding",
    "EncodedBlob",
    "EncodedMetadata",
    "InconsistencyProof",
    "InconsistentBlob",
    "InvalidEncoding",
    "InvalidProof",
    "LargeBlob",
    "LargeSliver",
    "MerkleProof",
    "Parameters",
    "ProvenSymbol",
    "RedStuff",
    "RedStuffError",
    "RootMismatch",
    "SingleRoot",
    "SliverData",
    "SliverRoots",
    "TooFewShards",
    "TooLarge",
    "WrongSize",
    "blob_id_text",
    "merkle_root",
    "parse_blob_id",
]
