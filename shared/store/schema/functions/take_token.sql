-- Take a token of a GCRA limit: the seconds to wait if there is none, and how many are left at
-- once. A count of NULL is no limit.
CREATE OR REPLACE FUNCTION callapi.take_token(
  p_key text, p_count integer, p_per_s float8, OUT wait_s float8, OUT remaining integer)
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE t interval := make_interval(secs => p_per_s / p_count); v_tat timestamptz;
BEGIN
  IF p_count IS NULL OR p_key IS NULL THEN wait_s := 0; RETURN; END IF;
  INSERT INTO callapi.rate_limits AS r VALUES (p_key, clock_timestamp() + t)
  ON CONFLICT (key) DO UPDATE SET tat = greatest(r.tat, clock_timestamp()) + t
    WHERE r.tat <= clock_timestamp() + t * (p_count - 1)
  RETURNING r.tat INTO v_tat;
  IF FOUND THEN
    wait_s := 0;
    remaining := least(p_count - 1, floor(
      p_count - extract(epoch FROM v_tat - clock_timestamp()) / extract(epoch FROM t)));
  ELSE
    SELECT greatest(0.001, extract(epoch FROM r.tat - clock_timestamp() - t * (p_count - 1)))
      INTO wait_s FROM callapi.rate_limits r WHERE r.key = p_key;
    wait_s := coalesce(wait_s, 0.001); remaining := 0;
  END IF;
END $f$;
