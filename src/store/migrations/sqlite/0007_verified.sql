-- Whether a revocation took effect: when that was shown, and by what; or how often its login was used all the same.
ALTER TABLE action ADD COLUMN verified_at BIGINT;
ALTER TABLE action ADD COLUMN verified_by TEXT;
ALTER TABLE action ADD COLUMN no_effects BIGINT NOT NULL DEFAULT 0;
ALTER TABLE action ADD COLUMN no_effect_at BIGINT;
CREATE INDEX action_watched ON action (finished_at) WHERE state IN ('answered', 'done') AND kind IN ('revoke_family', 'revoke_user', 'lock_user');
