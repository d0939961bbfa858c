-- Which text of each function of functions/ is applied.
CREATE TABLE callapi.functions (
  name       text PRIMARY KEY,
  digest     text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- With what cursors are signed: one row of two random UUIDs, whose randomness is the operating
-- system's. Renewing it ends every cursor that is out.
CREATE TABLE callapi.cursor_key (
  only_row   boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  key        text NOT NULL
             DEFAULT replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''),
  renewed_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO callapi.cursor_key DEFAULT VALUES;
