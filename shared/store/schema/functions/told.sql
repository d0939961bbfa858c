-- A call as an event tells it: its row, but for what no reader sees.
CREATE OR REPLACE FUNCTION callapi.told(p_call uuid) RETURNS jsonb LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
  SELECT to_jsonb(k) - ARRAY[
           'candidates', 'error_detail', 'transfer_until', 'transfer_before', 'hang_ups']
    FROM callapi.calls k WHERE k.call_id = p_call
$f$;
