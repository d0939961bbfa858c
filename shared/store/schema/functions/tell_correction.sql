-- Tell that the PBX's record, which came late, says more or else of an end that was told.
CREATE OR REPLACE FUNCTION callapi.tell_correction(p_enterprise text, p_call uuid)
RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $f$
  WITH n AS (
    INSERT INTO callapi.event_counters AS c VALUES (p_enterprise, 1)
    ON CONFLICT (enterprise) DO UPDATE SET seq = c.seq + 1 RETURNING c.seq)
  INSERT INTO callapi.call_events (enterprise, seq, call_id, phase, reason, at, type, call)
  SELECT p_enterprise, n.seq, p_call, k.phase, k.reason, clock_timestamp(), 'call.corrected',
         callapi.told(p_call)
    FROM n, callapi.calls k WHERE k.call_id = p_call
$f$;
