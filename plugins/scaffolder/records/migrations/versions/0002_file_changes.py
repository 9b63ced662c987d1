"""What each step did to each file: steps may replace, move and delete what others wrote, and can be run again.

The way back keeps the files of the last commit and drops what came before them: commits, moves, what was taken away.
"""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
CREATE TABLE project_commit (
    generated_project_id uuid NOT NULL REFERENCES generated_project ON DELETE CASCADE,
    position integer NOT NULL CHECK (position >= 0),
    step_id text NOT NULL,
    "commit" text CHECK ("commit" ~ '^[0-9a-f]{40,64}$'),
    PRIMARY KEY (generated_project_id, position),
    UNIQUE (generated_project_id, step_id)
);
COMMENT ON COLUMN project_commit."commit" IS 'Null where the commit was made before this table.';

CREATE TABLE file_change (
    generated_project_id uuid NOT NULL,
    position integer NOT NULL,
    path text COLLATE "C" NOT NULL,
    moved_from text,
    sha256 text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size_bytes bigint CHECK (size_bytes >= 0),
    mode integer,
    origin text,
    PRIMARY KEY (generated_project_id, path, position),
    FOREIGN KEY (generated_project_id, position) REFERENCES project_commit ON DELETE CASCADE,
    CHECK (num_nulls(sha256, size_bytes, mode, origin) IN (0, 4))
);
COMMENT ON COLUMN file_change.sha256 IS 'Null where the step took the path away.';

-- Until now no two steps could write one path, so the steps' order does not matter.
INSERT INTO project_commit (generated_project_id, position, step_id)
SELECT generated_project_id, row_number() OVER (PARTITION BY generated_project_id ORDER BY step_id) - 1, step_id
FROM (SELECT DISTINCT generated_project_id, step_id FROM project_file) steps;

INSERT INTO file_change (generated_project_id, position, path, sha256, size_bytes, mode, origin)
SELECT f.generated_project_id, c.position, f.path, f.sha256, f.size_bytes, f.mode, f.origin
FROM project_file f JOIN project_commit c USING (generated_project_id, step_id);

DROP TABLE project_file;

CREATE VIEW project_file AS
SELECT generated_project_id, path, sha256, size_bytes, mode, origin, step_id
FROM (
    SELECT DISTINCT ON (f.generated_project_id, f.path) f.*, c.step_id
    FROM file_change f JOIN project_commit c USING (generated_project_id, position)
    ORDER BY f.generated_project_id, f.path, f.position DESC
) newest
WHERE sha256 IS NOT NULL;
""")


def downgrade() -> None:
    op.execute("""
CREATE TABLE previous_project_file (
    generated_project_id uuid NOT NULL REFERENCES generated_project ON DELETE CASCADE,
    path text COLLATE "C" NOT NULL,
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    mode integer NOT NULL,
    origin text NOT NULL,
    step_id text NOT NULL,
    PRIMARY KEY (generated_project_id, path)
);
INSERT INTO previous_project_file
SELECT generated_project_id, path, sha256, size_bytes, mode, origin, step_id FROM project_file;
DROP VIEW project_file;
DROP TABLE file_change, project_commit;
ALTER TABLE previous_project_file RENAME TO project_file;
ALTER INDEX previous_project_file_pkey RENAME TO project_file_pkey;
""")
