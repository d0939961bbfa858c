-- Tell an enterprise something of its PBX, or of a call that began elsewhere: as callapi.tell does.
CREATE OR REPLACE FUNCTION callapi.tell_pbx(p_enterprise text, p_type text, p_pbx jsonb)
RETURNS void LANGUAGE sql
SET search_path = pg_catalog, pg_temp AS $f$
  WITH n AS (
    INSERT INTO callapi.event_counters AS c VALUES (p_enterprise, 1)
    ON CONFLICT (enterprise) DO UPDATE SET seq = c.seq + 1 RETURNING c.seq)
  INSERT INTO callapi.call_events (enterprise, seq, at, type, pbx)
  SELECT p_enterprise, n.seq, clock_timestamp(), p_type,
         p_pbx || jsonb_build_object('sandbox', callapi.is_sandbox(p_pbx->>'host_ip')) FROM n
$f$;
