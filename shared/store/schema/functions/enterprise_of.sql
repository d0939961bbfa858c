-- Whose secret this is: the one of `enterprises`, or a further one of callapi.keys, while neither has
-- ended. No row: nobody's, or of an enterprise that is not active. `matches` counts the enterprises
-- that have it, and those whose numbers differ from its own by spaces alone: where it is not 1, to
-- choose one of them would show one enterprise another's calls, or dial on its PBX. An end is said of a
-- number; where no enterprise has that any more, it holds for whoever has the secret.
-- It reads the table itself, by the secret or the number alone: an index on those is used. For other
-- spellings of the number it reads all rows, and a comparison of bytes leaves nearly all of them out.
CREATE OR REPLACE FUNCTION callapi.enterprise_of(p_secret text)
RETURNS TABLE (number text, name text, host text, matches bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
DECLARE v_digest bytea := sha256(convert_to(p_secret, 'UTF8')); e record;
BEGIN
  SELECT d.*, '%' || replace(d.number, '\', '_') || '%' AS alike, count(*) OVER () AS n INTO e FROM (
    SELECT btrim(format('%s', x.number)) AS number, format('%s', x.name) AS name,
           btrim(format('%s', x.ip)) AS host, x.number::text AS written
      FROM @enterprises@ x
     WHERE x.secret::text = p_secret AND x.active = true
       AND NOT EXISTS (SELECT 1 FROM callapi.keys k
                        WHERE k.digest = v_digest AND k.until <= clock_timestamp()
                          AND (k.number = x.number::text OR NOT EXISTS (
                                 SELECT 1 FROM @enterprises@ y WHERE y.number::text = k.number)))
    UNION
    SELECT btrim(format('%s', x.number)), format('%s', x.name), btrim(format('%s', x.ip)),
           x.number::text
      FROM callapi.keys k JOIN @enterprises@ x ON x.number::text = k.number
     WHERE k.digest = v_digest AND NOT k.of_table AND x.active = true
       AND (k.until IS NULL OR k.until > clock_timestamp())) d LIMIT 1;
  IF NOT FOUND THEN RETURN; END IF;
  number := e.number; name := e.name; host := e.host;
  SELECT e.n + count(*) INTO matches FROM @enterprises@ y
   WHERE y.active = true AND y.number::text COLLATE "C" LIKE e.alike
     AND btrim(y.number::text) = e.number AND y.number::text <> e.written;
  RETURN NEXT;
END $f$;
