"""The records: projects, generated projects, files, agent calls, endpoints, exports, events.

The way back drops them all.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE project (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug text NOT NULL UNIQUE CHECK (slug ~ '\\A[a-z0-9][a-z0-9-]{0,62}\\Z'),
    name text NOT NULL,
    created_by text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE project_member (
    project_id bigint NOT NULL REFERENCES project ON DELETE CASCADE,
    username text NOT NULL,
    role text NOT NULL CHECK (role IN ('viewer', 'member', 'owner')),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (project_id, username)
);

CREATE TABLE generated_project (
    id uuid PRIMARY KEY,
    project_id bigint NOT NULL REFERENCES project,
    name text NOT NULL CHECK (name ~ '\\A[A-Za-z0-9][A-Za-z0-9._-]{0,249}\\Z'),
    workflow text NOT NULL,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    run_at timestamptz NOT NULL,
    params json NOT NULL,
    status text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'generating', 'ready', 'failed', 'expired', 'deleted')),
    head_commit text,
    file_count integer NOT NULL DEFAULT 0 CHECK (file_count >= 0),
    size_bytes bigint NOT NULL DEFAULT 0 CHECK (size_bytes >= 0),
    expires_at timestamptz,
    held boolean NOT NULL DEFAULT false,
    error text,
    created_by text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (dag_id, run_id)
);
CREATE INDEX generated_project_project_idx ON generated_project (project_id, created_at DESC, id);
CREATE INDEX generated_project_due_idx ON generated_project (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE project_file (
    generated_project_id uuid NOT NULL REFERENCES generated_project ON DELETE CASCADE,
    path text COLLATE "C" NOT NULL,
    sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    mode integer NOT NULL,
    origin text NOT NULL,
    step_id text NOT NULL,
    PRIMARY KEY (generated_project_id, path)
);

CREATE TABLE agent_call (
    id uuid PRIMARY KEY,
    generated_project_id uuid NOT NULL REFERENCES generated_project ON DELETE CASCADE,
    step_id text NOT NULL,
    connection text NOT NULL,
    operation text NOT NULL,
    model text,
    request_digest text NOT NULL,
    idempotency_key text NOT NULL GENERATED ALWAYS AS (id::text) STORED UNIQUE,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'answered', 'failed')),
    http_status integer,
    response json,
    error text,
    attempts integer NOT NULL DEFAULT 1 CHECK (attempts > 0),
    latency_ms integer,
    input_tokens bigint,
    output_tokens bigint,
    cost numeric(18, 9),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX agent_call_generated_project_idx ON agent_call (generated_project_id, created_at);

CREATE TABLE endpoint (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection text NOT NULL,
    operation_id text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    request_schema json,
    response_schema json,
    spec_digest text NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now(),
    gone_at timestamptz,
    UNIQUE (connection, operation_id)
);

CREATE TABLE repository_export (
    id uuid PRIMARY KEY,
    generated_project_id uuid NOT NULL REFERENCES generated_project ON DELETE CASCADE,
    step_id text NOT NULL,
    target text NOT NULL,
    options json NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'exporting', 'exported', 'failed')),
    idempotency_key text NOT NULL UNIQUE,
    "commit" text NOT NULL,
    url text,
    archive_path text,
    archive_sha256 text,
    error text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX repository_export_generated_project_idx ON repository_export (generated_project_id, created_at);

CREATE TABLE event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    generated_project_id uuid,
    subject text NOT NULL,
    subject_id text NOT NULL,
    kind text NOT NULL,
    detail json NOT NULL DEFAULT '{}',
    actor text,
    "at" timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX event_generated_project_idx ON event (generated_project_id, id);
"""

FUNCTIONS = """
CREATE FUNCTION set_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END $$;

-- The trigger's arguments are the allowed moves, each as 'from>to'; a new row must be 'pending'.
CREATE FUNCTION check_status_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'pending' THEN
            RAISE EXCEPTION '% % cannot begin as %', TG_TABLE_NAME, NEW.id, NEW.status
                USING ERRCODE = 'check_violation', CONSTRAINT = 'status_transition';
        END IF;
    ELSIF NEW.status <> OLD.status
        AND NOT EXISTS (
            SELECT FROM generate_series(0, TG_NARGS - 1) AS i
            WHERE TG_ARGV[i] = OLD.status || '>' || NEW.status
        )
    THEN
        RAISE EXCEPTION '% % cannot go from % to %', TG_TABLE_NAME, NEW.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'status_transition';
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION write_status_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    key uuid;
BEGIN
    IF TG_TABLE_NAME = 'generated_project' THEN
        key := NEW.id;
    ELSE
        key := NEW.generated_project_id;
    END IF;
    INSERT INTO event (generated_project_id, subject, subject_id, kind, detail, actor)
    VALUES (
        key,
        TG_TABLE_NAME,
        NEW.id::text,
        CASE TG_OP WHEN 'INSERT' THEN 'created' ELSE 'status' END,
        json_strip_nulls(json_build_object(
            'from', CASE TG_OP WHEN 'UPDATE' THEN OLD.status END, 'to', NEW.status, 'error', NEW.error
        )),
        nullif(current_setting('scaffolder.actor', true), '')
    );
    RETURN NULL;
END $$;
"""

TRANSITIONS = {
    "generated_project": (
        "pending>generating",
        "pending>failed",
        "generating>ready",
        "generating>failed",
        "failed>generating",
        "failed>expired",
        "ready>expired",
        "expired>deleted",
    ),
    "agent_call": (
        "pending>answered",
        "pending>failed",
        "answered>pending",
        "failed>pending",
    ),
    "repository_export": (
        "pending>exporting",
        "pending>failed",
        "exporting>exported",
        "exporting>failed",
        "failed>exporting",
    ),
}


def upgrade() -> None:
    op.execute(TABLES)
    op.execute(FUNCTIONS)
    for table, moves in TRANSITIONS.items():
        arguments = ", ".join(f"'{move}'" for move in moves)
        op.execute(f"""
            CREATE TRIGGER check_status BEFORE INSERT OR UPDATE OF status ON {table}
            FOR EACH ROW EXECUTE FUNCTION check_status_transition({arguments});
            CREATE TRIGGER set_updated_at BEFORE UPDATE ON {table}
            FOR EACH ROW EXECUTE FUNCTION set_updated_at();
            CREATE TRIGGER write_created_event AFTER INSERT ON {table}
            FOR EACH ROW EXECUTE FUNCTION write_status_event();
            CREATE TRIGGER write_status_event AFTER UPDATE OF status ON {table}
            FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION write_status_event();
        """)


def downgrade() -> None:
    op.execute("""
        DROP TABLE event, repository_export, endpoint, agent_call, project_file, generated_project,
            project_member, project;
        DROP FUNCTION write_status_event, check_status_transition, set_updated_at;
    """)
