"""What a node does between handovers: heal what it lacks, collect garbage, scrub its disk, have bad blobs marked."""
