//! L2: the engine: a deterministic state machine over keyed stages.
