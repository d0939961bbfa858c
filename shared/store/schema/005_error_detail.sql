-- Why a call was not placed, in the words that its caller was told: a repeat that had waited for it
-- is told the same.
ALTER TABLE callapi.calls ADD COLUMN error_detail text;
