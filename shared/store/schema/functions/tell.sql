-- Tell that a call has come to a phase: the event gets its enterprise's next number, and the call as it
-- is now. Whoever tells holds the counter's row until it commits, so nothing with a lower number can
-- come after what a reader has seen.
CREATE OR REPLACE FUNCTION callapi.tell(
  p_enterprise text, p_call uuid, p_phase text, p_reason text, p_at timestamptz)
RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $f$
  WITH n AS (
    INSERT INTO callapi.event_counters AS c VALUES (p_enterprise, 1)
    ON CONFLICT (enterprise) DO UPDATE SET seq = c.seq + 1 RETURNING c.seq)
  INSERT INTO callapi.call_events (enterprise, seq, call_id, phase, reason, at, call)
  SELECT p_enterprise, n.seq, p_call, p_phase, p_reason, p_at, callapi.told(p_call) FROM n
$f$;
