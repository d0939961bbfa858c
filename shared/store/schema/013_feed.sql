-- The feed tells of a call as it was at that moment, and of ends that a late record corrected. What the
-- release before tells meanwhile has the defaults, and of the call only its id.
ALTER TABLE callapi.call_events ADD COLUMN type text NOT NULL DEFAULT 'call.phase';
ALTER TABLE callapi.call_events ADD COLUMN call jsonb;
DROP INDEX callapi.call_events_once;
CREATE UNIQUE INDEX call_events_once ON callapi.call_events (call_id, phase)
  WHERE type = 'call.phase';
-- What is older than EVENTS_KEEP_DAYS is found by this.
CREATE INDEX call_events_by_time ON callapi.call_events (at);
