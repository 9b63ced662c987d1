"""Credentials for the tests of the scan, drawn by lot when they are needed: none is written down, none is real."""

from __future__ import annotations

import base64
import json
import random
import string
import uuid
import zlib
from dataclasses import dataclass, field

_ALNUM = string.ascii_letters + string.digits
_UPPER = string.ascii_uppercase + string.digits
_LOWER = string.ascii_lowercase + string.digits
_HEX = "0123456789abcdef"
_BASE32 = string.ascii_uppercase + "234567"
_BECH32 = "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"
_KEY = "PRIVATE" + " KEY-----"


@dataclass(frozen=True, kw_only=True)
class PlantedSecret:
    """`secret` in the one or more lines of `text` that somebody could have left it in; `line` of these it is in."""

    text: str
    secret: str = field(repr=False)
    line: int = 1


class _Dice:
    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def draw(self, alphabet: str, length: int) -> str:
        # Digits among the letters, as a random credential practically always has.
        while True:
            drawn = "".join(self._random.choice(alphabet) for _ in range(length))
            if length < 16 or not set(alphabet) & set(string.digits) or sum(c.isdigit() for c in drawn) >= 3:
                return drawn

    def url_base64(self, size: int) -> str:
        return base64.urlsafe_b64encode(self._random.randbytes(size)).decode().rstrip("=")

    def base64(self, size: int) -> str:
        return base64.b64encode(self._random.randbytes(size)).decode()

    def uuid(self) -> str:
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def github(self, prefix: str) -> str:
        body = self.draw(_ALNUM, 30)
        digits = string.digits + string.ascii_uppercase + string.ascii_lowercase
        checksum, number = "", zlib.crc32(body.encode())
        while number:
            number, digit = divmod(number, 62)
            checksum = digits[digit] + checksum
        return prefix + body + checksum.rjust(6, "0")

    def pem(self, kind: str, *, lines: int) -> str:
        body = "\n".join(self.base64(48) for _ in range(lines))
        return f"-----BEGIN {kind}{_KEY}\n{body}\n-----END {kind}{_KEY}"


def plant_secrets(seed: int = 7) -> dict[str, PlantedSecret]:
    """Return one credential of each kind."""
    dice = _Dice(seed)
    planted: dict[str, PlantedSecret] = {}
    for kinds in (_plant_forges, _plant_clouds, _plant_services, _plant_keys, _plant_connections):
        planted |= kinds(dice)
    return planted


def _plant(template: str, secret: str) -> PlantedSecret:
    before = template[: template.index("@@")]
    return PlantedSecret(text=template.replace("@@", secret), secret=secret, line=before.count("\n") + 1)


def _plant_forges(dice: _Dice) -> dict[str, PlantedSecret]:
    draw = dice.draw
    return {
        "github classic": _plant('token = "@@"', dice.github("ghp_")),
        "github fine-grained": _plant("TOKEN=@@", f"github_pat_{draw(_ALNUM, 22)}_{draw(_ALNUM, 59)}"),
        "github oauth": _plant("x: @@", dice.github("gho_")),
        "gitlab": _plant("GITLAB_TOKEN=@@", "glpat-" + draw(_ALNUM, 20)),
        "gitlab runner": _plant("token: @@", "glrt-" + draw(_ALNUM, 20)),
        "npm": _plant("//registry.npmjs.org/:_authToken=@@", "npm_" + draw(_ALNUM, 36)),
        "pypi": _plant("password = @@", "pypi-AgEIcHlwaS5vcmc" + dice.url_base64(120)),
        "rubygems": _plant(":rubygems_api_key: @@", "rubygems_" + draw(_HEX, 48)),
        "docker hub": _plant("DOCKER_PAT=@@", "dckr_pat_" + draw(_ALNUM, 27)),
        "terraform cloud": _plant('token = "@@"', f"{draw(_ALNUM, 14)}.atlasv1.{draw(_ALNUM, 67)}"),
        "pulumi": _plant("PULUMI_ACCESS_TOKEN=@@", "pul-" + draw(_HEX, 40)),
        "sentry": _plant("SENTRY_AUTH_TOKEN=@@", "sntryu_" + draw(_HEX, 64)),
        "postman": _plant("key: @@", f"PMAK-{draw(_HEX, 24)}-{draw(_HEX, 34)}"),
    }


def _plant_clouds(dice: _Dice) -> dict[str, PlantedSecret]:
    draw = dice.draw
    return {
        "aws pair": _plant(
            f"aws_access_key_id = AKIA{draw(_BASE32, 16)}\naws_secret_access_key = @@", draw(_ALNUM + "/+", 40)
        ),
        "aws key id": _plant('KEY = "@@"', "AKIA" + draw(_BASE32, 16)),
        "google api": _plant("key: @@", "AIza" + draw(_ALNUM + "_-", 35)),
        "azure storage": _plant(
            f"DefaultEndpointsProtocol=https;AccountName=acct{draw(_LOWER, 5)};AccountKey=@@;EndpointSuffix=core.windows.net",
            dice.base64(64),
        ),
        "azure entra": _plant("AZURE_CLIENT_SECRET=@@", f"{draw(_ALNUM, 3)}8Q~{draw(_ALNUM, 34)}"),
        "digitalocean": _plant("DO=@@", "dop_v1_" + draw(_HEX, 64)),
        "databricks": _plant("DATABRICKS_TOKEN=@@", "dapi" + draw(_HEX, 32)),
        "vault": _plant("VAULT_TOKEN=@@", "hvs." + draw(_ALNUM, 95)),
        "doppler": _plant("DOPPLER_TOKEN=@@", "dp.pt." + draw(_ALNUM, 43)),
        "planetscale": _plant("PASSWORD=@@", "pscale_pw_" + draw(_ALNUM, 43)),
        "supabase": _plant("SUPABASE=@@", "sbp_" + draw(_HEX, 40)),
        "tailscale": _plant("TS=@@", f"tskey-api-{draw(_ALNUM, 24)}"),
        "cloudflare": _plant("CLOUDFLARE_API_TOKEN=@@", draw(_ALNUM, 40)),
        "heroku": _plant("HEROKU_API_KEY=@@", dice.uuid()),
        "datadog": _plant("DATADOG_API_KEY=@@", draw(_HEX, 32)),
    }


def _plant_services(dice: _Dice) -> dict[str, PlantedSecret]:
    draw = dice.draw
    return {
        "slack bot": _plant(
            'slack = "@@"', f"xoxb-{draw(string.digits, 12)}-{draw(string.digits, 13)}-{draw(_ALNUM, 24)}"
        ),
        "slack webhook": _plant(
            "url: @@", f"https://hooks.slack.com/services/T{draw(_UPPER, 8)}/B{draw(_UPPER, 10)}/{draw(_ALNUM, 24)}"
        ),
        "stripe": _plant('stripe.api_key = "@@"', "sk_live_" + draw(_ALNUM, 24)),
        "stripe restricted": _plant('key("@@")', "rk_live_" + draw(_ALNUM, 24)),
        "sendgrid": _plant("SENDGRID_API_KEY=@@", f"SG.{draw(_ALNUM, 22)}.{draw(_ALNUM, 43)}"),
        "mailgun": _plant("MAILGUN_API_KEY=@@", "key-" + draw(_HEX, 32)),
        "twilio": _plant(f'account_sid = "AC{draw(_HEX, 32)}"\nauth_token = "@@"', draw(_HEX, 32)),
        "telegram": _plant("BOT_TOKEN=@@", f"{draw('123456789', 10)}:AA{draw(_ALNUM + '_-', 33)}"),
        "discord": _plant("DISCORD_TOKEN=@@", f"M{draw(_ALNUM, 23)}.{draw(_ALNUM, 6)}.{draw(_ALNUM, 27)}"),
        "shopify": _plant('"@@"', "shpat_" + draw(_HEX, 32)),
        "linear": _plant("key = '@@'", "lin_api_" + draw(_ALNUM, 40)),
        "notion": _plant("notion: @@", f"ntn_{draw(string.digits, 11)}{draw(_ALNUM, 35)}"),
        "openai project": _plant("OPENAI_API_KEY=@@", f"sk-proj-{draw(_ALNUM, 74)}T3BlbkFJ{draw(_ALNUM, 74)}"),
        "openai": _plant("OPENAI_API_KEY=@@", f"sk-{draw(_ALNUM, 20)}T3BlbkFJ{draw(_ALNUM, 20)}"),
        "anthropic": _plant("ANTHROPIC_API_KEY=@@", f"sk-ant-api03-{draw(_ALNUM + '_-', 93)}AA"),
        "hugging face": _plant("HF_TOKEN=@@", "hf_" + draw(string.ascii_letters, 34)),
        "groq": _plant("GROQ=@@", "gsk_" + draw(_ALNUM, 52)),
    }


def _plant_keys(dice: _Dice) -> dict[str, PlantedSecret]:
    draw = dice.draw
    account = {"type": "service_account", "private_key": "@@", "client_email": "x@p.iam.gserviceaccount.com"}
    claims = base64.urlsafe_b64encode(b'{"sub":"1234567890","name":"J D","iat":1516239022}').decode().rstrip("=")
    return {
        "rsa": _plant("@@", dice.pem("RSA ", lines=25)),
        "pkcs8": _plant("@@", dice.pem("", lines=25)),
        "ec": _plant("@@", dice.pem("EC ", lines=3)),
        "openssh": _plant("@@", dice.pem("OPENSSH ", lines=6)),
        "google service account": _plant(json.dumps(account), json.dumps(dice.pem("", lines=25)).strip('"')),
        "pem in base64": _plant("tls.key: @@", base64.b64encode(dice.pem("RSA ", lines=25).encode()).decode()),
        "age": _plant("@@", "AGE-SECRET-KEY-1" + draw(_BECH32, 58)),
        "jwt": _plant("auth: @@", f"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{claims}.{dice.url_base64(32)}"),
    }


def _plant_connections(dice: _Dice) -> dict[str, PlantedSecret]:
    draw = dice.draw
    return {
        "postgres url": _plant("DATABASE_URL=postgresql://app:@@@db.internal.acme.io:5432/app", draw(_ALNUM, 20)),
        "mongo url": _plant("MONGO=mongodb+srv://app:@@@cluster0.q64nq.mongodb.net/app", draw(_ALNUM, 18)),
        "redis url": _plant('REDIS = "redis://:@@@cache.acme.io:6379/0"', draw(_ALNUM, 24)),
        "git url": _plant("git clone https://bob:@@@git.acme.io/x.git", draw(_ALNUM, 20)),
        "hex api key": _plant('api_key = "@@"', draw(_HEX, 40)),
        "client secret": _plant("client_secret: @@", draw(_ALNUM, 40)),
        "json secret": _plant('{"secret": "@@"}', draw(_ALNUM, 48)),
        "short password": _plant('PASSWORD = "@@"', draw(_ALNUM + "!$%", 16)),
    }
