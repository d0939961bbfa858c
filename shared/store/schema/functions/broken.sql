-- What is known of a PBX that could not be connected, by whichever process; NULL: nothing. Once its time is
-- over one request tries it, p_prober, and has p_probe_s for that, whatever becomes of it; all others
-- are told meanwhile as before. What is older than five minutes nobody knows any more: PBXs come back.
CREATE OR REPLACE FUNCTION callapi.broken(p_host text, p_prober uuid, p_probe_s float8)
RETURNS jsonb LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE b record;
BEGIN
  SELECT x.* INTO b FROM callapi.broken_hosts x
   WHERE x.host = p_host AND x.until > clock_timestamp() - interval '5 minutes';
  IF NOT FOUND THEN RETURN NULL; END IF;
  IF b.until <= clock_timestamp() THEN
    UPDATE callapi.broken_hosts x
       SET prober = p_prober, until = clock_timestamp() + make_interval(secs => p_probe_s)
     WHERE x.host = (SELECT y.host FROM callapi.broken_hosts y
                      WHERE y.host = p_host AND y.until <= clock_timestamp()
                        FOR UPDATE SKIP LOCKED);
    IF FOUND THEN b.prober := p_prober; END IF;
  END IF;
  RETURN jsonb_build_object(
    'code', b.code, 'detail', b.detail, 'is_tried', b.prober IS NOT DISTINCT FROM p_prober,
    'left_s', greatest(0, extract(epoch FROM b.until - clock_timestamp())));
END $f$;
