-- Which of an enterprise's secrets this is: its name, and a fingerprint. Of a random one that is the one
-- which `keys` lists; of the table's own, which somebody may have thought up, one that tells nothing
-- without this database's own key, but another one when the secret is changed.
CREATE OR REPLACE FUNCTION callapi.named_secret(p_secret text) RETURNS text LANGUAGE sql STABLE
SET search_path = pg_catalog, pg_temp AS $f$
  SELECT coalesce(
    (SELECT k.name || ' ' || left(encode(k.digest, 'hex'), 12) FROM callapi.keys k
      WHERE k.digest = sha256(convert_to(p_secret, 'UTF8')) AND NOT k.of_table
      ORDER BY k.name LIMIT 1),
    (SELECT 'enterprises ' || left(encode(
              sha256(convert_to(c.key || p_secret, 'UTF8')), 'hex'), 12)
       FROM callapi.cursor_key c))
$f$;
