"""Many photos through stages that overlap: bounded queues, one lane for each adapter, and the memory that all take."""
