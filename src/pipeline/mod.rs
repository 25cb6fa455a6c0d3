//! L4: the ingest loop, only owner of the engine.
