//! L5: wiring: configuration to parts, start, supervise, stop.
