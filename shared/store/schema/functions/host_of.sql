-- The host of the active enterprise that has this number and a secret with this digest; NULL: there is
-- none, not any more, or not yet. Whose secret may end is looked at so while a stream is open, where the
-- secret itself is not kept. As callapi.enterprise_of has it.
CREATE OR REPLACE FUNCTION callapi.host_of(p_number text, p_digest bytea) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE v_host text;
BEGIN
  SELECT btrim(format('%s', x.ip)) INTO v_host FROM @enterprises@ x
   WHERE btrim(format('%s', x.number)) = p_number AND x.active = true
     AND ((sha256(convert_to(x.secret::text, 'UTF8')) = p_digest
           AND NOT EXISTS (SELECT 1 FROM callapi.keys k
                            WHERE k.digest = p_digest AND k.number = x.number::text
                              AND k.until <= clock_timestamp()))
          OR EXISTS (SELECT 1 FROM callapi.keys k
                      WHERE k.digest = p_digest AND k.number = x.number::text AND NOT k.of_table
                        AND (k.until IS NULL OR k.until > clock_timestamp())))
   LIMIT 1;
  RETURN v_host;
END $f$;
