"""Between handovers a node heals what it lacks, collects garbage, scrubs and tidies its disk, has bad blobs marked."""
