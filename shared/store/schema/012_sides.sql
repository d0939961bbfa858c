-- What became of each party: whether a phone answered for it or the PBX, how long its phone rang, and
-- talked. NULL: nobody answered, or it is not known, as of the calls of the release before.
ALTER TABLE callapi.calls
  ADD COLUMN agent_answered_by    text CHECK (agent_answered_by IN ('phone', 'pbx')),
  ADD COLUMN agent_ring_s         integer,
  ADD COLUMN agent_talk_s         integer,
  ADD COLUMN customer_answered_by text CHECK (customer_answered_by IN ('phone', 'pbx')),
  ADD COLUMN customer_ring_s      integer,
  ADD COLUMN customer_talk_s      integer;
