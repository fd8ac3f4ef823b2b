"""The SQL statements of the sliver store."""

from __future__ import annotations

VERSION, OLD_VERSION = 6, 4
"""Version of the index and of the files' places, and the oldest one that is converted."""
VERSION_WITHOUT_OBJECTS = 5

_TABLES = """
CREATE TABLE blob (blob_id BLOB PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE metadata (blob INTEGER PRIMARY KEY, bcs BLOB NOT NULL, checksum BLOB NOT NULL);
CREATE TABLE segment (
    number INTEGER PRIMARY KEY AUTOINCREMENT, shard INTEGER NOT NULL, length INTEGER NOT NULL,
    slivers INTEGER NOT NULL, size_bytes INTEGER NOT NULL, is_retired INTEGER NOT NULL, object TEXT);
CREATE TABLE removal (object TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE sliver (
    blob INTEGER NOT NULL, shard INTEGER NOT NULL, axis INTEGER NOT NULL, segment INTEGER NOT NULL,
    offset INTEGER NOT NULL, size INTEGER NOT NULL, checksum BLOB NOT NULL, PRIMARY KEY (blob, shard, axis)
    ) WITHOUT ROWID;
CREATE TABLE tally (
    epoch INTEGER NOT NULL, shard INTEGER NOT NULL, blob INTEGER NOT NULL, way TEXT NOT NULL,
    slivers INTEGER NOT NULL, symbol_bytes INTEGER NOT NULL, received_bytes INTEGER NOT NULL,
    wasted_bytes INTEGER NOT NULL, PRIMARY KEY (epoch, shard, blob, way)) WITHOUT ROWID;
"""
SCHEMA = f"""
BEGIN IMMEDIATE;
{_TABLES}
CREATE TABLE bookmark (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""
ADD_TALLY = """
INSERT INTO tally VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
slivers = slivers + excluded.slivers, symbol_bytes = symbol_bytes + excluded.symbol_bytes,
received_bytes = received_bytes + excluded.received_bytes, wasted_bytes = wasted_bytes + excluded.wasted_bytes
"""
FORGET_TALLIES = """
DELETE FROM tally WHERE (epoch, shard, blob, way) IN
(SELECT epoch, shard, blob, way FROM tally WHERE epoch <= ? ORDER BY epoch LIMIT ?)
"""
NUMBER = "SELECT number FROM blob WHERE blob_id = ?"
SOME_NUMBERS = "SELECT blob_id, number FROM blob WHERE blob_id IN ({})"
FIND = """
SELECT segment, offset, size, checksum FROM blob CROSS JOIN sliver
WHERE blob_id = ? AND sliver.blob = blob.number AND shard = ? AND axis = ?
"""
FIND_ALL = """
SELECT shard, axis, segment, offset, size, checksum FROM blob CROSS JOIN sliver
WHERE blob_id = ? AND sliver.blob = blob.number ORDER BY shard, axis
"""
FIND_SOME = """
SELECT blob_id, segment, offset, size, checksum FROM blob CROSS JOIN sliver
WHERE blob_id IN ({}) AND sliver.blob = blob.number AND shard = ? AND axis = ?
"""
FIND_EACH = """
SELECT blob_id, shard, segment, offset, size, checksum FROM blob CROSS JOIN sliver
WHERE blob_id IN ({}) AND sliver.blob = blob.number AND axis = ? AND shard IN ({})
"""
PAGE = """
SELECT blob_id, segment, offset, size, checksum
FROM (SELECT * FROM blob WHERE blob_id >= ? ORDER BY blob_id LIMIT ?) AS some CROSS JOIN sliver
WHERE sliver.blob = some.number AND shard = ? AND axis = ? ORDER BY blob_id LIMIT ?
"""
BLOB_BEHIND = "SELECT blob_id FROM blob WHERE blob_id >= ? ORDER BY blob_id LIMIT 1 OFFSET ?"
TALLIES_BY_SHARD = """
SELECT shard, way, SUM(slivers), SUM(symbol_bytes), SUM(received_bytes), SUM(wasted_bytes)
FROM tally WHERE epoch = ? GROUP BY shard, way ORDER BY shard
"""
LARGEST_SHARE = """
SELECT MAX(received * 1.0 / COALESCE(
    ?2 * (SELECT size FROM sliver WHERE sliver.blob = one.blob AND axis = 0 LIMIT 1),
    ?3 * (SELECT size FROM sliver WHERE sliver.blob = one.blob AND axis = 1 LIMIT 1)))
FROM (SELECT blob, SUM(received_bytes + wasted_bytes) AS received
    FROM tally WHERE epoch = ?1 GROUP BY blob) AS one
"""

# blobs and metadata

NUMBERS = "SELECT number FROM blob WHERE blob_id >= ? AND blob_id < ?"
BLOB_ID = "SELECT blob_id FROM blob WHERE blob_id >= ? AND blob_id < ? AND number = ?"
ADD_BLOB = "INSERT INTO blob VALUES (?, ?)"
DELETE_BLOB = "DELETE FROM blob WHERE blob_id = ?"
BLOBS_AFTER = "SELECT blob_id FROM blob WHERE blob_id > ? ORDER BY blob_id LIMIT ?"
ADD_METADATA = "INSERT OR IGNORE INTO metadata VALUES (?, ?, ?)"
SOME_METADATA_SIZES = """
SELECT blob_id, COALESCE(LENGTH(bcs), 0) FROM blob CROSS JOIN metadata
WHERE blob_id IN ({}) AND metadata.blob = blob.number
"""
SOME_METADATA = """
SELECT blob_id, bcs, checksum FROM blob CROSS JOIN metadata WHERE blob_id IN ({}) AND metadata.blob = blob.number
"""
DISCARD_METADATA = (
    "DELETE FROM metadata WHERE blob = (SELECT number FROM blob WHERE blob_id = ?) AND bcs IS ?"
)
DELETE_METADATA = "DELETE FROM metadata WHERE blob = (SELECT number FROM blob WHERE blob_id = ?)"

# slivers

ADD = "INSERT OR REPLACE INTO sliver VALUES (?, ?, ?, ?, ?, ?, ?)"
DELETE = """
DELETE FROM sliver WHERE blob = (SELECT number FROM blob WHERE blob_id = ?) AND shard = ? AND axis = ?
"""
DELETE_ALL = "DELETE FROM sliver WHERE blob = (SELECT number FROM blob WHERE blob_id = ?)"

# segments, and their tidying

SEGMENTS = "SELECT number, shard, length, slivers, size_bytes, is_retired, object FROM segment"
LAST_SEGMENT = "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'segment'"
KEEP_SEGMENT = "INSERT OR REPLACE INTO segment VALUES (?, ?, ?, ?, ?, ?, ?)"
DELETE_SEGMENT = "DELETE FROM segment WHERE number = ?"
STEP_END = "SELECT blob FROM sliver WHERE blob > ? ORDER BY blob LIMIT 1 OFFSET ?"
STEP = """
SELECT blob, sliver.shard, axis, segment, offset, size, checksum, number IS NULL
FROM sliver LEFT JOIN segment ON number = segment
WHERE blob > ? AND blob <= ? AND (number IS NULL OR is_retired) ORDER BY blob
"""
DELETE_ROW = "DELETE FROM sliver WHERE blob = ? AND shard = ? AND axis = ?"
MOVE = "UPDATE sliver SET segment = ?, offset = ? WHERE blob = ? AND shard = ? AND axis = ?"

# objects that are to be deleted

REMOVALS = "SELECT object FROM removal ORDER BY object LIMIT ?"
ADD_REMOVAL = "INSERT OR IGNORE INTO removal VALUES (?)"
DELETE_REMOVAL = "DELETE FROM removal WHERE object = ?"
KNOWN_OBJECTS = """
SELECT object FROM segment WHERE object IS NOT NULL UNION SELECT object FROM removal
"""

# bookmarks

BOOKMARK = "SELECT value FROM bookmark WHERE name = ?"
KEEP_BOOKMARK = "INSERT OR REPLACE INTO bookmark VALUES (?, ?)"
DELETE_BOOKMARK = "DELETE FROM bookmark WHERE name = ?"

# a store of version 5, which knew no object stores

ADD_OBJECTS = f"""
BEGIN IMMEDIATE;
ALTER TABLE segment ADD COLUMN object TEXT;
CREATE TABLE removal (object TEXT PRIMARY KEY) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""

# a store of version 4

SET_ASIDE = f"""
BEGIN IMMEDIATE;
DROP INDEX sliver_of_blob;
DROP INDEX sliver_in_file;
ALTER TABLE metadata RENAME TO old_metadata;
ALTER TABLE sliver RENAME TO old_sliver;
ALTER TABLE tally RENAME TO old_tally;
{_TABLES}
PRAGMA user_version = {VERSION};
COMMIT;
"""
IS_ASIDE = "SELECT 1 FROM sqlite_schema WHERE name = 'old_sliver'"
OLD_COUNT = "SELECT COUNT(*) FROM old_sliver"
OLD_IN_FILES = "SELECT 1 FROM old_sliver WHERE inline IS NULL LIMIT 1"
OLD_SLIVERS = """
SELECT rowid, shard, axis, blob_id, size, checksum, inline FROM old_sliver ORDER BY shard, axis, blob_id LIMIT ?
"""
DELETE_OLD_SLIVER = "DELETE FROM old_sliver WHERE rowid = ?"
OLD_METADATA = "SELECT blob_id, bcs, checksum FROM old_metadata ORDER BY blob_id LIMIT ?"
DELETE_OLD_METADATA = "DELETE FROM old_metadata WHERE blob_id = ?"
OLD_TALLIES = """
SELECT epoch, shard, blob_id, way, slivers, symbol_bytes, received_bytes, wasted_bytes FROM old_tally LIMIT ?
"""
DELETE_OLD_TALLY = "DELETE FROM old_tally WHERE epoch = ? AND shard = ? AND blob_id = ? AND way = ?"
END_CONVERSION = ("DROP TABLE old_sliver", "DROP TABLE old_metadata", "DROP TABLE old_tally")
