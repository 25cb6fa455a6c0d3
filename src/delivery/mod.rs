//! L4: the outbox loop: leases actions, performs them, records what became of them.
