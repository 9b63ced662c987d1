"""Finds credentials in what a step wants to write, so that none becomes part of a commit.

Two stages. Ours reads every file in this process and asks only whether it holds the shape of a credential. Kingfisher,
a scanner with some 500 rules that needs about a second to start, reads the files that do. A few precise formats that
its rules miss are ours. Neither stage touches the network, and nothing here keeps, logs or raises a secret.
"""

from __future__ import annotations

import codecs
import json
import math
import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

from scaffolder.config import MIB, Settings
from scaffolder.errors import PermanentError, TransientError
from scaffolder.generation.tree import GeneratedFile

# The first run of a kingfisher compiles its rules: about ten seconds of one processor.
SCAN_TIMEOUT_SECONDS: Final = 180
MAX_REPORT_SIZE: Final = 64 * MIB

_NOTHING_FOUND: Final = 0
_SOMETHING_FOUND: Final = 200
_OPTIONS: Final = (
    "--no-validate",  # trying a secret out would send it
    "--no-update-check",
    "--no-ignore",  # or a comment in the file would switch the scan off
    "--no-dedup",
    "--no-extract-archives",
    "--max-file-size=0",  # the limit is ours, and larger files are not silently left out
    "--git-history=none",
    "--format=json",
    "--quiet",
)

# The first stage is three patterns for Rust's regular expressions, which pydantic brings: hundreds of megabytes a
# second. One pattern of them all overflows that engine's automaton and is a thousand times slower, and so are large
# counted repetitions.

# What vendors document as the beginning of a credential that says itself what it is. At least 16 characters follow.
_PREFIXES: Final = """
    AGE-SECRET-KEY-1 AIK_CI_ AIK_SECRET_ AIza AKCp AQ.Ab8RN6 ATATT ATBB ATCTT AstraCS: BBDC- CCDB1_ CCIPAT_ CCIPRJ_
    CLOJARS_ EZAK EZTK FLWSECK FlyV1 GR1348941 HRKU- PMAK- PMAT- SWMKEY-1- SWMTKN-1- SharedAccessKey=
    SharedAccessSignature= AccountKey= ZXlK LS0tLS1CRUdJTi _authToken= _gitlab_session= aact_prod_ api_live. api_live_
    api_org_ apify_api_ apk_user_ bedrock-api-key- bkua_ cfat_ cfut_ cmVmd cnvca configcat-sdk-1/ dckr_oat_ dckr_pat_
    ddo_ ddp_ doo_v1_ dop_v1_ dor_v1_ dp.pt. dp.st. dt0c01. duffel_live_ duffel_test_ dvc_server_ essu_ figd_ fio-u-
    gcntfy- ghp_ gho_ ghr_ ghs_ ghu_ github_pat_ glagent- glc_ glcbt- gldt- glffct- glft- glimt- gloas- glpat- glptt-
    glrt- glsa_ glsoat- gsk_ hooks.slack.com/ hvb. hvs. lin_api_ lin_oauth_ llx- lsv2_pt_ lsv2_sk_ mdb_sa_sk_
    mercury_production_ mergify_application_key_ mlsn. npm_ ntn_ nvapi- ops_eyJ os_v2_app_ os_v2_org_
    packagist_acs_ packagist_ort_ packagist_out_ pcsk_ pdl_live_apikey_ persona_production_ phx_ polar_at_ polar_oat_
    polar_pat_ pplx- pscale_oauth_ pscale_pw_ pscale_tkn_ pul- pypi-AgE ramp_sec_ rdme_ rk_live_ rk_prod_ rk_test_
    rootly_ rubygems_ s-s4t2af- s-s4t2ud- samsara_api_ sb_secret_ sbp_ sha256~ shpat_ shpca_ shppa_ shpss_
    shippo_live_ shippo_test_ sk-admin- sk-ant- sk-api- sk-lf- sk-or-v1- sk-proj- sk-svcacct- sk_car_ sk_live_ sk_prod_
    sk_test_ sm_aat_ sm_pat_ sm_sat_ sntrys_ sntryu_ sq0atp- sq0csp- tgp_v1_ tk-us- tskey- unkey_ vca_ vci_ vck_ vcp_
    vcr_ vtwn_ waka_ wandb_v1_ webhook.office.com/ xai- xapp- xkeysib- xnd_production_ xoxa- xoxb- xoxc- xoxd- xoxe-
    xoxe. xoxo- xoxp- xoxr- xoxs- zpka_
    """
# Formats whose beginning alone is too common: their shape, which begins with fixed text.
_SHAPES: Final = (
    r"PRIVATE KEY(?: BLOCK)?-----",
    r"ABSK[A-Za-z0-9+/]{24}",  # AWS Bedrock
    r"LTAI[A-Za-z0-9]{17}",  # Alibaba
    r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16}",  # SendGrid
    r"ey[JK][A-Za-z0-9_-]{14,}\.ey[A-Za-z0-9_-]{14}",  # JSON Web Token
    r"eyJ(?:rIjoi|taXJv)[A-Za-z0-9+/]{16}",  # Grafana, Miro
    r"EAA[CM][A-Za-z0-9]{40}",  # Facebook
    r"\bhf_[A-Za-z]{30}",  # Hugging Face
    r"\bdapi[a-f0-9]{32}",  # Databricks
    r"\bsk-[A-Za-z0-9]{20}",  # OpenAI and those who took its format
    r"\bcsk-[a-z0-9]{24}",  # Cerebras
    r"\bico-[A-Za-z0-9]{32}",  # Infracost
    r"\bnapi_[A-Za-z0-9]{32}",  # Neon
    r"\bSK[0-9a-f]{32}",  # Twilio
    r"\br8_[A-Za-z0-9]{37}",  # Replicate
    r"\bre_[A-Za-z0-9]{8}_[A-Za-z0-9]{24}",  # Resend
    r"\b(?:rpa|rnd)_[A-Za-z0-9]{28}",  # RunPod, redirect.pizza, Render
    r"\bsgp_[A-Za-z0-9_]{40}",  # Sourcegraph, Segment
    r"\b(?:ion|nyk|pnu|cog)_[A-Za-z0-9]{36}",  # Ionic, Nylas, Prefect, Devin
    r"\b(?:prf|tss|lip|pina)_[A-Za-z0-9]{20}",  # Proof, Thunderstore, Lichess, Pinterest
    r"\bbk(?:aa|aj|ar|ct|pt|pat|ps)_[A-Za-z0-9_-]{40}",  # Buildkite
    r"\bcsa_[a-f0-9]{30}",  # Cloudsmith
    r"\bp8e-[A-Za-z0-9]{32}",  # Adobe
    r"\bEXO[a-f0-9]{24}",  # Exoscale
    r"\bEAAA[A-Za-z0-9_-]{40}",  # Square
    r"\bA3-[A-Z0-9]{6}-[A-Z0-9]{6}",  # 1Password
    r"\bAPI-[A-Z0-9]{26}\b",  # Octopus
    r"\b(?:pa|al)-[A-Za-z0-9]{20}",  # Voyage
    r"\bs\.[A-Za-z0-9]{24}\b",  # Vault until 1.9
    r"\bv1\.0-[a-f0-9]{24}-",  # Cloudflare origin
    r"\bpat[A-Za-z0-9]{14}\.[a-f0-9]{32}",  # Airtable
    r"\.atlasv1\.[A-Za-z0-9]{16}",  # Terraform
    r"\.azconfig\.io;Id=",  # Azure App Configuration
    r"""["']refresh_token["'][ \t]*:""",  # Google's application default credentials
)
# And those that begin with anything.
_FREE_SHAPES: Final = (
    r"(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}",  # AWS
    r"[0-9]Q~[A-Za-z0-9_~.-]{31}",  # Microsoft Entra
    r"[A-Za-z0-9+/]{2}==:[A-Za-z0-9]{32}",  # Tableau
    r"\b[0-9]{5,16}:A[A-Za-z0-9_-]{34}",  # Telegram
    r"\b[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27}",  # Discord
    # A URL with a password that is no short placeholder and nothing a template engine would replace
    r"""://[^:/@ \t\r\n'"`]*:[^/@ \t\r\n'"`<>{}$]{12}[^/@ \t\r\n'"`<>{}$]*@""",
)
# Vendors whose credentials are plain hex or base64: their name, an assignment and a long opaque value.
_VENDORS: Final = """
    abuseipdb adafruit airtable algolia aliyun alibaba amplitude asana assemblyai auth0 aws_secret
    aws_session azure beamer bitbucket bitly bitrise bittrex browserstack circleci cloudflare cloudinary codecov
    cohere coinbase confluent contentful coveralls couchbase databento datadog deepgram deepseek discord disqus droneci
    dropbox elevenlabs etsy facebook fastly figma finicity finnhub flickr freshbooks gitea gitter gocardless greptile
    gumroad hcp_client heroku honeycomb hubspot infomaniak influx intercom jumpcloud klaviyo kraken kucoin larksuite
    launchdarkly linkedin looker mailchimp mailgun mapbox mattermost messagebird mistral netlify newrelic new-relic
    new_relic ngrok nytimes okta ollama openweather opsgenie pagerduty paypal pinecone plaid plivo postmark rapidapi
    razorpay scaleway scalr sendbird sentry snowflake snyk sonar squarespace sumologic telegram telnyx travis twilio
    twitch twitter typeform upstash vercel virustotal vultr wandb weatherstack woocommerce workos yandex zendesk zoho
    secret_access_key secretaccesskey secret-access-key
    """
_ASSIGNED: Final = (
    rf"(?i:{'|'.join(_VENDORS.split())})"
    r"""[ \tA-Za-z0-9_.-]*["']?[ \t]*[=:,>|]+[`"' \t\r\n]*"""
    r"[A-Za-z0-9_+/-]{16}"
)

# Whatever calls itself a secret and is long.
_NAMED: Final = (
    r"(?i:(?:api|secret|private|access|auth|client|encryption|signing|master|app)[_-]?(?:key|token|secret)|secret|token"
    r"""|passw(?:or)?d)["']?[ \t]*(?::=|=>|[:=])[ \t]*["'`]?[A-Za-z0-9+/_-]{32}"""
)

# What kingfisher's rules know only beside another word or key, or not at all.
_GENERIC_KIND: Final = "named-secret"
_OWN_RULES: Final = (
    ("aws-access-key-id", rb"\b((?:AKIA|ASIA)[A-Z2-7]{16})\b(?<!EXAMPLE)"),
    ("azure-entra-client-secret", rb"(?<![A-Za-z0-9_~.-])([A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34})"),
    ("telegram-bot-api-token", rb"\b([0-9]{8,10}:AA[A-Za-z0-9_-]{33})(?![A-Za-z0-9_-])"),
    (
        "discord-bot-token",
        rb"\b([MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40})(?![A-Za-z0-9_-])",
    ),
    (_GENERIC_KIND, _NAMED.encode().replace(b"[A-Za-z0-9+/_-]{32}", rb"([A-Za-z0-9+/_-]{32,}={0,2})(?![A-Za-z0-9.])")),
)
_FEWEST_DIGITS: Final = 3
_LEAST_ENTROPY_BITS: Final = 3.0
_INVENTED: Final = re.compile(
    rb"example|sample|dummy|fake|mock|test|change|placeholder|replace|insert|your|xxxx|1234567|abcdef0|deadbeef",
    re.IGNORECASE,
)

# Rules that match too much: three letters that turn up in any base64, and what documentation is full of.
_IGNORED_RULES: Final = frozenset({"brave-search-api-key", "curl-auth-user", "curl-auth-header"})
_URL_RULES: Final = frozenset({"generic-credential-uri", "mongodb-connection-string"})
_URL_PASSWORD: Final = re.compile(r"://[^:/@\s]*:([^/@\s]*)@")
_SHORTEST_PASSWORD: Final = 12


@dataclass(frozen=True, kw_only=True)
class SecretFinding:
    """Where a secret is: never what it is. `line` counts from 1; `kind` is the rule's name."""

    path: str
    line: int
    kind: str


def find_secrets(files: Iterable[GeneratedFile], *, settings: Settings) -> list[SecretFinding]:
    """Return where `files` hold credentials, by path, line and kind; compressed archives are not looked into.

    Takes 10 to 20 ms for a megabyte, and about a second more where a file holds the shape of a credential. Raises
    PermanentError where the scanner is missing or answers with anything but a complete report, and TransientError
    where it takes longer than `SCAN_TIMEOUT_SECONDS`: what could not be scanned is never taken for clean.
    """
    # Equal contents are scanned once.
    paths: dict[bytes, list[str]] = {}
    for file in files:
        paths.setdefault(file.content, []).append(file.path)
    is_suspicious = _suspicion()
    suspects = [content for content in paths if is_suspicious(_as_text(content))]
    if not suspects:
        return []
    texts = [_as_bytes(content) for content in suspects]
    places = _run_kingfisher(texts, settings=settings)
    known = {(index, line) for index, line, _ in places}
    for index, text in enumerate(texts):
        places |= {(index, line, kind) for line, kind in _apply_own_rules(text) if (index, line) not in known}
    findings = {
        SecretFinding(path=path, line=line, kind=kind)
        for index, line, kind in places
        for path in paths[suspects[index]]
    }
    return sorted(findings, key=lambda finding: (finding.path, finding.line, finding.kind))


@cache
def _suspicion() -> Callable[[str], bool]:
    """Return the test of the first stage."""
    from pydantic import ConfigDict, StringConstraints, TypeAdapter

    beginnings = "|".join(re.escape(prefix) for prefix in _PREFIXES.split())
    patterns = (
        rf"(?:{beginnings})[A-Za-z0-9_.~+/=:-]{{16}}|{'|'.join(_SHAPES)}",
        f"{'|'.join(_FREE_SHAPES)}|{_NAMED}",
        _ASSIGNED,
    )
    tests = [
        # A boundary of ASCII words: Unicode's is slow where a byte is not ASCII.
        TypeAdapter(
            Annotated[str, StringConstraints(pattern=pattern.replace(r"\b", r"(?-u:\b)"))],
            config=ConfigDict(regex_engine="rust-regex"),
        ).validator.isinstance_python
        for pattern in patterns
    ]
    return lambda text: any(test(text) for test in tests)


def _as_text(content: bytes) -> str:
    """Return `content` with one character for each byte, which is enough to look for ASCII; UTF-16 is decoded."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    return content.decode("latin-1")


def _as_bytes(content: bytes) -> bytes:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace").encode("utf-8", "replace")
    return content


def _apply_own_rules(text: bytes) -> Iterator[tuple[int, str]]:
    for kind, rule in _OWN_RULES:
        for match in re.finditer(rule, text):
            if kind != _GENERIC_KIND or _is_random(match[1]):
                yield text.count(b"\n", 0, match.start(1)) + 1, kind


def _is_random(value: bytes) -> bool:
    """Say whether `value` looks drawn by lot: letters and digits, evenly used, and no word that admits invention."""
    digits = sum(value.count(digit) for digit in b"0123456789")
    if digits < _FEWEST_DIGITS or value.isdigit() or _INVENTED.search(value):
        return False
    shares = [count / len(value) for count in Counter(value).values()]
    return -sum(share * math.log2(share) for share in shares) >= _LEAST_ENTROPY_BITS


def _run_kingfisher(texts: Sequence[bytes], *, settings: Settings) -> set[tuple[int, int, str]]:
    """Return (index into `texts`, line, kind) of what kingfisher finds, placeholders left out."""
    with tempfile.TemporaryDirectory(prefix="scaffolder-scan-") as name:
        directory = Path(name)
        files, report = directory / "files", directory / "report.json"
        files.mkdir()
        for index, text in enumerate(texts):
            # Some extensions and first bytes make kingfisher leave a file out or parse it; a line in front and a
            # name that says nothing prevent that.
            (files / f"{index}.txt").write_bytes(b"\n" + text)
        _call(files, report=report, settings=settings)
        found = _read_report(report, file_count=len(texts))
    if found is None:
        # Raised here, not where the report was read: an error about JSON carries the text, and so the secrets.
        raise PermanentError(
            f"{len(texts)} file(s) could not be scanned for secrets, so none was written: the report of kingfisher "
            "is not complete. Accepted is kingfisher-bin as pinned in requirements.txt"
        )
    return found


def _call(files: Path, *, report: Path, settings: Settings) -> None:
    import kingfisher  # type: ignore[import-untyped]

    rules = settings.cache_dir / "secret-rules"
    program = str(kingfisher.get_binary_path())
    try:
        rules.mkdir(parents=True, exist_ok=True)
        # Into a file: the error about a timeout carries what came through a pipe.
        with report.open("wb") as output:
            code = subprocess.run(
                [program, "scan", str(files), *_OPTIONS],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.DEVNULL,
                cwd=files,
                env={"HOME": str(files.parent), "TMPDIR": str(files.parent), "KF_RULE_CACHE_DIR": str(rules)},
                timeout=SCAN_TIMEOUT_SECONDS,
                check=False,
            ).returncode
    except subprocess.TimeoutExpired as error:
        raise TransientError(
            f"the scan for secrets took longer than {SCAN_TIMEOUT_SECONDS} s, so none of the files was written"
        ) from error
    except OSError as error:
        raise PermanentError(
            f"the scan for secrets cannot run {program!r} with its rules in {str(rules)!r}: {error.strerror}. Install "
            "kingfisher-bin, and check SCAFFOLDER_CACHE_DIR"
        ) from error
    if code not in {_NOTHING_FOUND, _SOMETHING_FOUND}:
        raise PermanentError(
            f"the scan for secrets failed, so none of the files was written: kingfisher ended with {code}; accepted "
            f"are {_NOTHING_FOUND} and {_SOMETHING_FOUND}"
        )


def _read_report(report: Path, *, file_count: int) -> set[tuple[int, int, str]] | None:
    """Return (index of the file, line, kind) for each finding; None where the report is not what it should be."""
    try:
        if report.stat().st_size > MAX_REPORT_SIZE:
            return None
        data = json.loads(report.read_bytes())
        if data["metadata"]["summary"]["blobs_scanned"] != file_count:
            return None
        return {
            _read_place(found["rule"]["name"], found["finding"])
            for found in data["findings"]
            if found["rule"]["name"] not in _IGNORED_RULES
            and not _is_placeholder(found["rule"]["name"], found["finding"]["snippet"])
        }
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_place(kind: str, finding: Mapping[str, Any]) -> tuple[int, int, str]:
    return int(Path(finding["path"]).stem), int(finding["line"]) - 1, kind


def _is_placeholder(kind: str, snippet: str) -> bool:
    """Say whether the password of a URL is one that documentation and local set-ups use."""
    if kind not in _URL_RULES:
        return False
    url = _URL_PASSWORD.search(snippet)
    password = url[1] if url else snippet
    return len(password) < _SHORTEST_PASSWORD or not any(character.isdigit() for character in password)
