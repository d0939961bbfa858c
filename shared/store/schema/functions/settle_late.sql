-- A call of unknown outcome came up late. Hung up again, it no longer blocks its repeats, but those of its
-- Idempotency-Key, since a phone has rung; one that is new to the trackers is one to follow.
CREATE OR REPLACE FUNCTION callapi.settle_late(
  p_call uuid, p_root_channel text, p_root_uniqueid text, p_hung_up boolean)
RETURNS boolean LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE s record; settled boolean;
BEGIN
  UPDATE callapi.calls c
     SET state = 'executed', root_channel = p_root_channel, root_uniqueid = p_root_uniqueid,
         phase = CASE c.phase WHEN 'ended' THEN c.phase ELSE 'accepted' END,
         cancelled_at = CASE WHEN p_hung_up THEN clock_timestamp() ELSE c.cancelled_at END,
         cdr = CASE c.phase WHEN 'ended' THEN 'pending' ELSE c.cdr END,
         error_code = CASE WHEN p_hung_up THEN 'late-call-hung-up' ELSE 'late-call' END,
         settled_at = clock_timestamp()
   WHERE c.call_id = p_call AND c.state IN ('placing', 'unknown')
   RETURNING c.enterprise, c.phase, c.settled_at INTO s;
  settled := FOUND;
  IF settled AND p_hung_up THEN
    DELETE FROM callapi.claims c WHERE c.call_id = p_call AND c.key LIKE 'same:%';
  END IF;
  IF settled AND s.phase = 'accepted' THEN
    PERFORM callapi.tell(s.enterprise, p_call, 'accepted', NULL, s.settled_at);
  ELSIF settled THEN
    PERFORM callapi.tell_correction(s.enterprise, p_call);
  END IF;
  RETURN settled;
END $f$;
