-- The newest detection there was before the state was taken, by its `seq`.
ALTER TABLE snapshot ADD COLUMN detections BIGINT;
