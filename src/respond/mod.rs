//! L2: the response policy: pure decisions, each with its reason.
