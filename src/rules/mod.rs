//! L1: the rules: what a rule file says, compiled and checked, and the pure logic of each kind.
