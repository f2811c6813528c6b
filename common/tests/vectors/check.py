#!/usr/bin/env python3
"""Judges every vector of v1/ from docs/PROTOCOL.md alone, and compares with what the vector says.

A second implementation of the envelope's verifier, of channels and of proofs; the clauses in brackets are those of
docs/PROTOCOL.md. It shares no code with the first one and never looks at `expected` before it has a verdict.

    python3 check.py [FOLDER]        needs the packages `cbor2` and `cryptography`
"""

import base64
import binascii
import hashlib
import hmac
import io
import json
import re
import sys
from pathlib import Path

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Reject(Exception):
    """A refusal: the reason of [P-31], and the link or the word that says more."""

    def __init__(self, reason, more=None):
        super().__init__(reason, more)
        self.reason, self.more = reason, more


def need(condition, reason="malformed", more=None):
    if not condition:
        raise Reject(reason, more)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


# --- CBOR [E-4]


def load(data):
    """One item in its one encoding: what was read, written again, has to be the same bytes."""
    try:
        stream = io.BytesIO(data)
        item = cbor2.CBORDecoder(stream).decode()
        whole = stream.tell() == len(data)
        again = cbor2.dumps(item, canonical=True)
    except Exception as error:  # whatever the library makes of bytes that are no CBOR
        raise Reject("malformed") from error
    need(whole and again == data)
    return item


def encoded(item):
    return cbor2.dumps(item, canonical=True)


def is_uint(item):
    return type(item) is int and 0 <= item < 2**64


def uint(item, most=2**64 - 1):
    need(is_uint(item) and item <= most)
    return item


def sint(item):
    need(type(item) is int and -(2**63) <= item < 2**63)
    return item


def bstr(item, length=None):
    need(type(item) is bytes and (length is None or len(item) == length))
    return item


TEXT_BYTES_MAX = 128


def tstr(item):
    need(type(item) is str and 1 <= len(item.encode()) <= TEXT_BYTES_MAX)
    need(not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in item))
    return item


def array(item, least, most):
    need(type(item) is list and least <= len(item) <= most)
    return item


def rising(items):
    """A set: items rise in the order of their encodings, each once."""
    keys = [encoded(item) for item in items]
    need(all(a < b for a, b in zip(keys, keys[1:])))
    return items


def mapping(item, known, musts=(), least=1):
    """A map with integer keys."""
    need(type(item) is dict and len(item) >= least)
    need(all(is_uint(key) and key in known for key in item))
    need(all(key in item for key in musts))
    return item


def named(item, most, least=1):
    """A map with text keys."""
    need(type(item) is dict and least <= len(item) <= most)
    for key in item:
        tstr(key)
    return item


NAME = re.compile(r"[a-z0-9][a-z0-9\-_.]{0,63}\Z")
WORD = re.compile(r"[\x21-\x7e]{1,128}\Z")


def name(item):
    need(NAME.match(tstr(item)))
    return item


def word(item):
    need(WORD.match(tstr(item)))
    return item


# --- keys and signatures

P = 2**255 - 19


def small_order_ys():
    """The y coordinates of the points whose order divides 8, by doubling on the curve itself (RFC 8032, 5.1)."""
    d = -121665 * pow(121666, P - 2, P) % P
    root = pow(2, (P - 1) // 4, P)

    def x_of(y):
        square = (y * y - 1) * pow(d * y * y + 1, P - 2, P) % P
        x = pow(square, (P + 3) // 8, P)
        if (x * x - square) % P:
            x = x * root % P
        return None if (x * x - square) % P else x

    ys = {0, 1, P - 1}
    # A point of order 8 doubles to one of order 4, whose y is 0: y^2 + x^2 = 0, so x^2 = -y^2, and with the curve
    # -x^2 + y^2 = 1 + d x^2 y^2 that is 2 y^2 = 1 - d y^4.
    # d y^4 + 2 y^2 - 1 = 0  =>  y^2 = (-1 +- sqrt(1 + d)) / d
    disc = (1 + d) % P
    sqrt = pow(disc, (P + 3) // 8, P)
    if (sqrt * sqrt - disc) % P:
        sqrt = sqrt * root % P
    if (sqrt * sqrt - disc) % P == 0:
        for sign in (1, -1):
            square = (-1 + sign * sqrt) * pow(d, P - 2, P) % P
            y = pow(square, (P + 3) // 8, P)
            if (y * y - square) % P:
                y = y * root % P
            if (y * y - square) % P == 0 and x_of(y) is not None:
                ys |= {y, P - y}
    assert len(ys) == 5, "there are five"
    return ys


SMALL_ORDER = small_order_ys()


def public_key(data):
    """[E-14]: canonical, and not of small order."""
    bstr(data, 32)
    y = int.from_bytes(data, "little") & (2**255 - 1)
    need(y < P and y not in SMALL_ORDER)
    return data


def verifies(key, signature, message):
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        return True
    except (InvalidSignature, ValueError):
        return False


# --- tool patterns [L-3]


def pattern(text):
    word(text)
    segments = text.split(".")
    need(len(segments) <= 8 and text != "*.**")
    for at, segment in enumerate(segments):
        last = at == len(segments) - 1
        need(segment == "*" or (segment == "**" and last) or (segment != "" and "*" not in segment))
    return tuple(segments)


def matches(segments, tool):
    tool = tool.split(".")
    for at, segment in enumerate(segments):
        if segment == "**":
            return True
        if at >= len(tool) or (segment != "*" and segment != tool[at]):
            return False
    return len(tool) == len(segments)


def meet_patterns(a, b):
    """One pattern or None."""
    met = []
    for at in range(max(len(a), len(b)) + 1):
        left = a[at] if at < len(a) else None
        right = b[at] if at < len(b) else None
        if left is None and right is None:
            break
        if left == "**":
            met += b[at:]
            break
        if right == "**":
            met += a[at:]
            break
        if left is None or right is None:
            return None
        if left == "*":
            met.append(right)
        elif right == "*" or left == right:
            met.append(left)
        else:
            return None
    # A pattern whose every match would be longer than a name can be is nothing [L-12].
    shortest = met[:-1] if met and met[-1] == "**" else met
    return tuple(met) if len(".".join(shortest)) <= TEXT_BYTES_MAX else None


def meet_tools(mine, theirs):
    met = {both for a in mine for b in theirs if (both := meet_patterns(a, b)) is not None}
    # One that lies within another says nothing.
    return {one for one in met if not any(one != other and meet_patterns(one, other) == one for other in met)}


# --- what a link says [E-3, E-5]

CONSTRAINT_LISTED, CONSTRAINT_WITHIN, CONSTRAINT_BELOW, CONSTRAINT_LENGTH = "one_of", "within", "below", "length_max"


def stays(path):
    odd = any(c in "\\%" or ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in path)
    return not odd and all(segment != "." and not segment.startswith("..") for segment in path.split("/"))


def covers(place, path):
    if not path.startswith(place) or not stays(path):
        return False
    rest = path[len(place):]
    return rest == "" or place.endswith("/") or rest.startswith("/")


def scalar(item):
    if type(item) is bool:
        return item
    if type(item) is str:
        return tstr(item)
    return sint(item)


def typed(value):
    """True is not 1."""
    return (type(value).__name__, value)


def constraint(item):
    array(item, 2, 3)
    kind = uint(item[0])
    if kind == 0 and len(item) == 2:
        return {CONSTRAINT_LISTED: {typed(scalar(item[1]))}}
    if kind == 1 and len(item) == 2:
        return {CONSTRAINT_LISTED: {typed(scalar(value)) for value in rising(array(item[1], 2, 256))}}
    if kind == 2 and len(item) == 3:
        low, high = sint(item[1]), sint(item[2])
        need(low <= high)
        return {CONSTRAINT_WITHIN: (low, high)}
    if kind == 3 and len(item) == 2:
        need(stays(tstr(item[1])))
        return {CONSTRAINT_BELOW: item[1]}
    if kind == 4 and len(item) == 2:
        return {CONSTRAINT_LENGTH: uint(item[1], 2**32 - 1)}
    raise Reject("malformed")


NOWHERE = object()


def meet_constraints(a, b):
    met = {**a, **b}
    for kind in a.keys() & b.keys():
        mine, theirs = a[kind], b[kind]
        if kind == CONSTRAINT_LISTED:
            met[kind] = mine & theirs
        elif kind == CONSTRAINT_WITHIN:
            met[kind] = (max(mine[0], theirs[0]), min(mine[1], theirs[1]))
        elif kind == CONSTRAINT_LENGTH:
            met[kind] = min(mine, theirs)
        elif NOWHERE in (mine, theirs):
            met[kind] = NOWHERE
        else:
            met[kind] = theirs if covers(mine, theirs) else mine if covers(theirs, mine) else NOWHERE
    return met


def is_nothing(c):
    low, high = c.get(CONSTRAINT_WITHIN, (0, 0))
    return c.get(CONSTRAINT_LISTED) == set() or low > high or c.get(CONSTRAINT_BELOW) is NOWHERE


def admits_value(c, value):
    if value is None or type(value) not in (bool, int, str):
        return False
    if CONSTRAINT_LISTED in c and typed(value) not in c[CONSTRAINT_LISTED]:
        return False
    if CONSTRAINT_WITHIN in c and not (type(value) is int and c[CONSTRAINT_WITHIN][0] <= value <= c[CONSTRAINT_WITHIN][1]):
        return False
    if CONSTRAINT_BELOW in c:
        place = c[CONSTRAINT_BELOW]
        if place is NOWHERE or type(value) is not str or not covers(place, value):
            return False
    if CONSTRAINT_LENGTH in c and not (type(value) is str and len(value.encode()) <= c[CONSTRAINT_LENGTH]):
        return False
    return True


def pointer(text):
    need(tstr(text).startswith("/") and all(part[:1] in ("0", "1") for part in text.split("~")[1:]))
    return text


EFFECTS = ["read", "write", "irreversible", "external-send", "spend", "delegate"]


def grant(item):
    mapping(item, range(1, 10), musts=(1, 2))
    said = {"of": uint(item[1], 2**16 - 1)}
    texts = rising(array(item[2], 1, 64))
    said["tools"] = {pattern(text) for text in texts}
    said["patterns"] = len(texts)
    said["pins"] = {}
    for tool, digest in named(item.get(3, {}), 64, least=0 if 3 not in item else 1).items():
        said["pins"][word(tool)] = bstr(digest, 32)
    said["ids"] = {}
    for dimension, ids in named(item.get(4, {}), 32, least=0 if 4 not in item else 1).items():
        array(ids, 2, 2)
        kind = uint(ids[0], 1)
        said["ids"][name(dimension)] = (kind, {word(i) for i in rising(array(ids[1], 0, 256))})
    said["maxima"] = {}
    for dimension, most in named(item.get(5, {}), 32, least=0 if 5 not in item else 1).items():
        said["maxima"][name(dimension)] = uint(most)
    if 6 in item:
        bits = bstr(item[6])
        need(len(bits) <= 32 and not bits.endswith(b"\0"))
        said["classes"] = {n for n in range(256) if n // 8 < len(bits) and bits[n // 8] >> n % 8 & 1}
    else:
        said["classes"] = None
    said["effects"] = uint(item[7], 0b11_1111) if 7 in item else None
    said["args"] = {}
    for at, c in named(item.get(8, {}), 32, least=0 if 8 not in item else 1).items():
        said["args"][pointer(at)] = constraint(c)
    need(9 not in item or item[9] is True)
    said["future"] = 9 in item
    return said


def delegation(item):
    mapping(item, range(1, 5), musts=(1, 2, 3, 4))
    need(type(item[3]) is bool)
    handoff = uint(item[4], 1)
    return (uint(item[1], 255), uint(item[2], 2**16 - 1), item[3]), handoff == 1


def audience(item):
    mapping(item, (1, 2))
    lists = [None if key not in item else {name(n) for n in rising(array(item[key], 0, 64))} for key in (1, 2)]
    return tuple(lists)


def obligations(item):
    """Grade, redaction, log; and whether there is something that cannot be enforced [E-9]."""
    mapping(item, range(1, 5))
    unenforceable = False
    grade = uint(item[1], 3) if 1 in item else 0
    if 2 in item:
        for key in rising(array(item[2], 1, 16)):
            bstr(key, 32)
        unenforceable = True
    redact = uint(item.get(3, 0), 2**32 - 1)
    log = uint(item.get(4, 0), 255)
    need(all(item[key] != 0 for key in (1, 3, 4) if key in item))
    return (grade, redact, log), unenforceable or redact > 1 or log > 1


def context(item):
    mapping(item, range(1, 13), musts=(1, 2, 3, 4, 5, 6, 10, 11, 12))
    name(item[1])
    for key in (2, 3, 4):
        word(item[key])
    uint(item[5], 3)
    bstr(item[6], 32)
    for key in (7, 9):
        if key in item:
            tstr(item[key])
    for key in (8, 10, 11, 12):
        if key in item:
            uint(item[key])
    return item


ED25519 = -19


def link_payload(data):
    item = load(data)
    known = (*range(1, 17), 20, 63)
    mapping(item, known, musts=(1, 2, 3, 4, 8, 9, 10, 15, 16))
    kind = uint(item[1], 1)
    root = kind == 0
    bstr(item[2], 32)
    need(not root or item[2] == bytes(32))
    alg, key = array(item[3], 2, 2)
    need(sint(alg) == ED25519)
    public_key(key)
    agent = mapping(item[4], (1, 2, 3), musts=(1, 2))
    word(agent[1])
    word(agent[2])
    if 3 in agent:
        bstr(agent[3], 32)
    need((5 in item) == root and (7 not in item or not root) and (6 in item or not root))
    if root:
        context(item[5])
    if 6 in item:
        for number in array(item[6], 0, 8):
            uint(number, 2**32 - 1)
    for key_of_text in (7, 20):
        if key_of_text in item:
            tstr(item[key_of_text])
    grants = [grant(one) for one in array(item[8], 1, 16)]
    need(sum(one["patterns"] for one in grants) <= 256)
    if root:
        for one in grants:
            need(one["of"] == 0 and one["classes"] is not None and one["effects"] is not None)
            need(one["future"] or not any("*" in "".join(p) for p in one["tools"]))
    nbf, exp, iat = uint(item[9]), uint(item[10]), uint(item[16])
    need(iat <= nbf < exp and exp - iat <= (3600 if root else 900))  # [E-17]
    bstr(item[15], 16)
    unenforceable = any(kind == 1 and ids for one in grants for kind, ids in one["ids"].values())
    deleg = (0, 0, False)
    if 11 in item:
        deleg, exclusive = delegation(item[11])
        unenforceable |= exclusive
    aud = audience(item[12]) if 12 in item else (None, None)
    demands = (0, 0, 0)
    if 13 in item:
        demands, beyond = obligations(item[13])
        unenforceable |= beyond
    if 14 in item:
        for unit in named(item[14], 32).values():
            uint(unit)
        unenforceable = True
    if root and item[5][5] != 0:
        unenforceable = True
    if 63 in item:
        total = sum(len(key.encode()) + len(bstr(value)) for key, value in named(item[63], 512).items())
        need(total <= 512)
    need(not unenforceable)  # [E-9]
    return {
        "root": root,
        "parent": item[2],
        "holder": key,
        "agent": {"id": agent[1], "class": agent[2]},
        "context": item.get(5),
        "purpose": item.get(6),
        "grants": grants,
        "window": (nbf, exp),
        "iat": iat,
        "delegation": deleg,
        "audience": aud,
        "demands": demands,
    }


TYP = "remit-link+cbor"
QUORUM = -70010


def link(item):
    """One COSE_Sign1 [E-2]."""
    need(len(encoded(item)) <= 4096)
    protected, unprotected, payload, signature = array(item, 4, 4)
    need(type(unprotected) is dict and not unprotected)
    header = load(bstr(protected))
    need(type(header) is dict and all(is_uint(key) for key in header) and {1, 16} <= header.keys() <= {1, 4, 16})
    need(header[16] == TYP)
    alg, kid = sint(header[1]), header.get(4)
    found = {"protected": protected, "payload": bstr(payload), "alg": alg, "kid": kid}
    if alg == QUORUM:
        need(kid is None)
        parts = array(load(bstr(signature)), 1, 5)
        for part in parts:
            array(part, 2, 2)
            bstr(part[0], 8)
            bstr(part[1], 64)
        need(all(a[0] < b[0] for a, b in zip(parts, parts[1:])))
        found["signatures"] = parts
    else:
        bstr(kid, 8)
        found["signature"] = bstr(signature, 64)
    found["says"] = link_payload(payload)
    need(found["says"]["root"] == (alg == QUORUM))
    return found


def presentation(data):
    need(len(data) <= 32832)
    item = load(data)
    need(type(item) is list and item and item[0] == 1 and type(item[0]) is int)
    need(2 <= len(item) <= 3)
    links = array(item[1], 1, 8)
    found = []
    for hop, one in enumerate(links):
        try:
            read = link(one)
            need(read["says"]["root"] == (hop == 0))
        except Reject as refused:
            raise Reject(refused.reason, hop) from refused
        found.append(read)
    said = {}
    if len(item) == 3:
        need(type(item[2]) is dict and item[2])
        for hop, one in item[2].items():
            need(is_uint(hop) and 1 <= hop < len(links))
            said[hop] = countersignature(one)
    return found, said


def countersignature(item):
    """[E-30]"""
    need(len(encoded(item)) <= 512)
    protected, unprotected, payload, signature = array(item, 4, 4)
    need(type(unprotected) is dict and not unprotected)
    header = load(bstr(protected))
    need(type(header) is dict and header.keys() == {1, 4, 16} and sint(header[1]) == ED25519)
    need(header[16] == "remit-countersign+cbor")
    bstr(header[4], 8), bstr(signature, 64)
    said = mapping(load(bstr(payload)), range(1, 9), musts=range(1, 8))
    bstr(said[1], 32), name(said[2]), name(said[3]), uint(said[4]), uint(said[5]), bstr(said[6], 32), bstr(said[7], 16)
    for lease in array(said[8], 1, 16) if 8 in said else ():
        bstr(lease, 16)
    return {"protected": protected, "payload": payload, "kid": header[4], "signature": signature, "says": said}


def registered(vector, mesh, ids, said):
    """The hops for which a countersignature is evidence [E-31]."""
    edges = {edge["id"]: edge for edge in vector["edges"]}
    found = []
    for hop, one in sorted(said.items()):
        says, edge = one["says"], edges.get(one["says"][2])
        if says[1] != ids[hop] or edge is None or edge["region"] != says[3] or vector["now_ms"] >= says[5] * 1000:
            continue
        key = bytes.fromhex(edge["key"])
        message = encoded(["Signature1", one["protected"], b"remit/countersign/v1" + mesh, one["payload"]])
        if one["kid"] == sha256(key)[:8] and verifies(key, one["signature"], message):
            found.append(hop)
    return found


# --- a chain [E-6 to E-18]


def link_id(mesh, one):
    protected = one["protected"]
    return sha256(b"remit/linkid/v1\0", mesh, len(protected).to_bytes(4, "big"), protected, one["payload"])


def to_be_signed(mesh, one):
    return encoded(["Signature1", one["protected"], b"remit/link/v1" + mesh, one["payload"]])


def check_structure(links, ids):
    for hop in range(1, len(links)):
        child, parent = links[hop], links[hop - 1]
        need(child["says"]["parent"] == ids[hop - 1], "bad_signature", hop)  # [E-12]
        need(child["alg"] == ED25519, "bad_signature", hop)  # [E-13]
        need(child["kid"] == sha256(parent["says"]["holder"])[:8], "bad_signature", hop)


def check_signatures(vector, mesh, links):
    root = links[0]
    message, iat = to_be_signed(mesh, root), root["says"]["iat"]
    tenant = root["says"]["context"][1]
    listed = {}
    for issuer in vector["issuers"]:
        until = issuer["until_secs"]
        if tenant in issuer["tenants"] and issuer["from_secs"] <= iat and (until is None or iat < until):
            key = bytes.fromhex(issuer["key"])
            listed[sha256(key)[:8]] = key
    counted = [(listed[kid], signature) for kid, signature in root["signatures"] if kid in listed]
    majority = len(listed) // 2 + 1
    need(listed and len(counted) >= majority, "bad_signature", 0)  # [E-10]
    need(all(verifies(key, signature, message) for key, signature in counted), "bad_signature", 0)
    for hop in range(1, len(links)):  # [E-11]
        key = links[hop - 1]["says"]["holder"]
        need(verifies(key, links[hop]["signature"], to_be_signed(mesh, links[hop])), "bad_signature", hop)
    return [sha256(key).hex() for key, _ in counted], majority


def left(g):
    """The grant, or None when nothing can be left of it [L-6]."""
    nothing = (
        not g["tools"]
        or g["effects"] == 0
        or any(kind == 0 and not ids for kind, ids in g["ids"].values())
        or any(is_nothing(c) for c in g["args"].values())
    )
    return None if nothing else g


def meet_ids(a, b):
    (kind_a, ids_a), (kind_b, ids_b) = a, b
    if kind_a == 0 and kind_b == 0:
        return (0, ids_a & ids_b)
    if kind_a == 0:
        return (0, ids_a - ids_b)
    if kind_b == 0:
        return (0, ids_b - ids_a)
    return (1, ids_a | ids_b)


def meet_optional(a, b):
    return b if a is None else a if b is None else a & b


def pointwise(a, b, meet):
    met = {**a, **b}
    met.update({key: meet(a[key], b[key]) for key in a.keys() & b.keys()})
    return met


def meet_grants(parent, child):
    """What both admit; the root's silence stands [L-4]."""
    if parent is None:
        return None
    # A dimension of which the root is silent, and of which the hop wants a value: no call has both.
    if child["ids"].keys() - parent["ids"].keys() or child["maxima"].keys() - parent["maxima"].keys():
        return None
    return left({
        "of": child["of"],
        "tools": meet_tools(parent["tools"], child["tools"]),
        "pins": pointwise(parent["pins"], child["pins"], lambda a, b: a if a == b else None),
        "ids": pointwise(parent["ids"], child["ids"], meet_ids),
        "maxima": pointwise(parent["maxima"], child["maxima"], min),
        "classes": meet_optional(parent["classes"], child["classes"]),
        "effects": meet_optional(parent["effects"], child["effects"]),
        "args": pointwise(parent["args"], child["args"], meet_constraints),
        "future": parent["future"] and child["future"],
    })


def longer(a, b, hop):
    if b is None:
        return a
    shorter, longest = sorted((a, b), key=len)
    need(longest[: len(shorter)] == shorter, "purpose_mismatch", hop)  # [E-16]
    return longest


def meet_chain(links):
    says = [one["says"] for one in links]
    root = says[0]
    met = {
        "purpose": root["purpose"],
        "window": root["window"],
        "delegation": root["delegation"],
        "audience": root["audience"],
        "demands": root["demands"],
        "grants": [left(g) for g in root["grants"]],
    }
    for hop, said in enumerate(says[1:], 1):
        depth, fanout, offline = met["delegation"]
        need(depth > 0, "out_of_scope", hop)  # [E-18]
        own = said["delegation"]
        met["delegation"] = (min(depth - 1, own[0]), min(fanout, own[1]), offline and own[2])
        met["audience"] = tuple(meet_optional(a, b) for a, b in zip(met["audience"], said["audience"]))
        (grade, redact, log), own = met["demands"], said["demands"]
        met["demands"] = (max(grade, own[0]), redact | own[1], max(log, own[2]))
        met["purpose"] = longer(met["purpose"], said["purpose"], hop)
        met["window"] = (max(met["window"][0], said["window"][0]), min(met["window"][1], said["window"][1]))
        need(met["window"][0] < met["window"][1], "expired", hop)  # [E-17]
        above, grants = met["grants"], []
        for g in said["grants"]:
            need(g["of"] < len(above), "malformed", hop)  # [L-6]
            grants.append(meet_grants(above[g["of"]], g))
            need(grants[-1] is None or len(grants[-1]["tools"]) <= 64, "malformed", hop)  # [L-12]
        met["grants"] = grants
    return met


# --- time, place, cuts [E-20, E-28, T-40]


def check_standing(vector, links, ids, context_of_root, root_signers):
    now = vector["now_ms"]
    windows = [one["says"]["window"] for one in links]
    for hop, (_, exp) in enumerate(windows):
        need(now < exp * 1000, "expired", hop)
    for hop, (nbf, _) in enumerate(windows):
        need(now + 30_000 >= nbf * 1000, "not_yet_valid", hop)
    for hop, one in enumerate(links):
        regions, edges = one["says"]["audience"]
        need(regions is None or vector["region"] in regions, "wrong_audience", hop)
        need(edges is None or vector["edge"] in edges, "wrong_audience", hop)
    tenant = context_of_root[1]
    subjects = {("link", i.hex()) for i in ids}
    subjects |= {("holder", sha256(one["says"]["holder"]).hex()) for one in links}
    subjects |= {("agent", one["says"]["agent"]["id"]) for one in links}
    subjects |= {("class", one["says"]["agent"]["class"]) for one in links}
    subjects |= {("delegator", context_of_root[2]), ("session", context_of_root[3]), ("task", context_of_root[4])}
    subjects.add(("tenant", tenant))
    for cut in vector["revoked"]:
        need(not (cut["tenant"] == tenant and (cut["kind"], cut["id"]) in subjects), "revoked")
    signers, majority = root_signers
    for cut in vector["revoked"]:  # [T-49]
        if cut["tenant"] == tenant and cut["kind"] == "issuer":
            issuer, before = cut["id"].split("@")
            signers = [kid for kid in signers if kid != issuer or links[0]["says"]["iat"] >= int(before)]
    need(len(signers) >= majority, "revoked")


# --- calls [L-4, L-5, L-9]


def admits(g, call):
    if g is None or not any(matches(p, call["tool"]) for p in g["tools"]):
        return False
    if call.get("is_newer") and not g["future"]:
        return False
    if call["tool"] in g["pins"]:
        pinned = g["pins"][call["tool"]]
        if pinned is None or call.get("definition") != pinned.hex():
            return False
    effects = call.get("effects", [])
    if not effects or any(not g["effects"] >> EFFECTS.index(effect) & 1 for effect in effects):
        return False
    ids, amounts, results = call.get("ids", {}), call.get("amounts", {}), call.get("result_maxima", [])
    for dimension, (kind, allowed) in g["ids"].items():
        values = ids.get(dimension)
        if not values or any((value in allowed) != (kind == 0) for value in values):
            return False
    for dimension, most in g["maxima"].items():
        if dimension in amounts:
            if int(amounts[dimension]) > most:
                return False
        elif dimension not in results:
            return False
    if ids.keys() - g["ids"].keys() or (amounts.keys() | set(results)) - g["maxima"].keys():
        return False
    for at, c in g["args"].items():
        values = call.get("arguments", {}).get(at)
        if not values or not all(admits_value(c, value) for value in values):
            return False
    return True


# --- what is told of a chain


def in_order(texts):
    return sorted(texts, key=lambda text: (len(text.encode()), text.encode()))


def told_constraint(c):
    told = {}
    if CONSTRAINT_LISTED in c:
        told["one_of"] = sorted((value for _, value in c[CONSTRAINT_LISTED]), key=encoded)
    if CONSTRAINT_WITHIN in c:
        told["within"] = list(c[CONSTRAINT_WITHIN])
    for kind in (CONSTRAINT_BELOW, CONSTRAINT_LENGTH):
        if kind in c:
            told[kind] = c[kind]
    return told


def told_grant(g):
    if g is None:
        return None
    return {
        "of": g["of"],
        "tools": in_order(".".join(p) for p in g["tools"]),
        "pins": {tool: pin and pin.hex() for tool, pin in g["pins"].items()},
        "ids": {d: {("in", "all_but")[kind]: in_order(ids)} for d, (kind, ids) in g["ids"].items()},
        "maxima": {dimension: str(most) for dimension, most in g["maxima"].items()},
        "classes": sorted(g["classes"]),
        "effects": [effect for bit, effect in enumerate(EFFECTS) if g["effects"] >> bit & 1],
        "args": {at: told_constraint(c) for at, c in g["args"].items()},
        "future": g["future"],
    }


def told_chain(links, ids, met):
    root = links[0]["says"]
    c = root["context"]
    agents = [one["says"]["agent"] for one in links]
    regions, edges = met["audience"]
    grade, redact, log = met["demands"]
    depth, fanout, offline = met["delegation"]
    return {
        "links": [i.hex() for i in ids],
        "holders": [sha256(one["says"]["holder"]).hex() for one in links],
        "tenant": c[1],
        "delegator": c[2],
        "session": c[3],
        "task": c[4],
        "agent": agents[0]["id"],  # [E-19]
        "class": agents[0]["class"],
        "agents": agents,
        "purpose": met["purpose"],
        "not_before_secs": met["window"][0],
        "expires_secs": met["window"][1],
        "depth_left": depth,
        "fanout_max": fanout,
        "offline": offline,
        "regions": None if regions is None else in_order(regions),
        "edges": None if edges is None else in_order(edges),
        "min_pop": ["none", "P0", "P1", "P2"][grade],
        "redact": redact,
        "log": log,
        "catalogue_version": c[10],
        "taxonomy_version": c[11],
        "min_bundle_version": c[12],
        "grants": [told_grant(g) for g in met["grants"]],
    }


def judge_envelope(vector):
    mesh = bytes.fromhex(vector["mesh"])
    links, said = presentation(bytes.fromhex(vector["presentation"]))
    ids = [link_id(mesh, one) for one in links]
    check_structure(links, ids)
    root_signers = check_signatures(vector, mesh, links)
    met = meet_chain(links)
    check_standing(vector, links, ids, links[0]["says"]["context"], root_signers)
    by = [next((at for at, g in enumerate(met["grants"]) if admits(g, call)), None) for call in vector["calls"]]
    return {
        "verdict": "accept",
        "effective": told_chain(links, ids, met),
        "registered": registered(vector, mesh, ids, said),
        "admitted_by": by,
    }


# --- channels

BAD_PROOF = "bad_proof"


def lp(*parts):
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def proof_shape(read):
    """Whatever is wrong with the shape of a request or a proof is one fault."""
    try:
        return read()
    except Reject as refused:
        raise Reject(BAD_PROOF, "malformed") from refused


def read_signed(data):
    need(len(data) <= 512 + 2048)
    item = array(load(data), 3, 3)
    need(is_uint(item[0]) and item[0] == 1)
    return bstr(item[1]), bstr(item[2], 64)


def read_request(data):
    inner, signature = read_signed(data)
    version, mesh, leaf, edge, ephemeral, time, nonce, *shown = array(load(inner), 7, 9)
    if shown:
        need(len(shown) == 2 and is_uint(shown[0]) and shown[0] == 1 and len(bstr(shown[1])) <= 2048)
    need(is_uint(version) and version == (2 if shown else 1))
    need(shown or len(data) <= 512)
    bstr(mesh, 16), bstr(leaf, 32), name(edge), bstr(ephemeral, 32), uint(time), bstr(nonce, 16)
    return inner, signature, mesh, leaf, edge, ephemeral, time


def open_channel(vector):
    """The answer, and the key that both sides derive."""
    body = bytes.fromhex(vector["request"])
    inner, signature, mesh, leaf, edge, ephemeral, time = proof_shape(lambda: read_request(body))
    need(mesh.hex() == vector["mesh"] and edge == vector["edge"], BAD_PROOF, "other_edge")
    need(abs(vector["now_ms"] - time) <= 30_000, BAD_PROOF, "time")
    need(leaf.hex() == vector["leaf"], BAD_PROOF, "other_leaf")
    holder = bytes.fromhex(vector["holder"])
    need(verifies(holder, signature, lp(b"remit/channel-request/v1", inner)), BAD_PROOF, "evidence")
    own = X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["edge_ephemeral"]))
    answer = encoded([
        1,
        bytes.fromhex(vector["channel"]),
        own.public_key().public_bytes_raw(),
        bytes.fromhex(vector["answer_nonce"]),
        vector["base"],
        vector["life_ms"],
    ])
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(ephemeral))
    except ValueError as error:  # a point of small order
        raise Reject(BAD_PROOF, "malformed") from error
    info = lp(b"remit/channel-key/v1", mesh, leaf, edge.encode())
    key = HKDF(algorithm=SHA256(), length=32, salt=sha256(lp(body, answer)), info=info).derive(shared)
    signer = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(vector["edge_seed"]))
    signed = signer.sign(lp(b"remit/channel/v1", sha256(body), answer))
    check_holders_side(vector, body, answer, signed, shared)
    return encoded([1, answer, signed]), key


def check_holders_side(vector, body, answer, signed, shared):
    """The holder gets to the same secret, and the edge's signature verifies for it."""
    assert verifies(bytes.fromhex(vector["edge_key"]), signed, lp(b"remit/channel/v1", sha256(body), answer))
    own = X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["holder_ephemeral"]))
    assert own.exchange(X25519PublicKey.from_public_bytes(load(answer)[2])) == shared


def judge_channel(vector):
    answer, key = open_channel(vector)
    return {"verdict": "accept", "answer": answer.hex(), "key": key.hex()}


# --- proofs


def read_proof(header):
    need(len(header) <= 344 and re.fullmatch(r"[A-Za-z0-9_-]*", header))
    try:
        data = base64.urlsafe_b64decode(header + "=" * (-len(header) % 4))
    except binascii.Error as error:
        raise Reject("malformed") from error
    need(base64.urlsafe_b64encode(data).rstrip(b"=").decode() == header and len(data) <= 256)
    version, grade, channel, counter, time, salt, definition, evidence = array(load(data), 8, 8)
    need(is_uint(version) and version == 1 and is_uint(grade) and grade in (1, 2))
    bstr(channel, 16), uint(counter), uint(time), bstr(salt, 16), bstr(definition), bstr(evidence)
    need(len(definition) in (0, 32) and len(evidence) == (32 if grade == 1 else 64))
    return grade, channel, counter, time, salt, definition, evidence


def judge_proof(vector):
    _, key = open_channel(vector)
    grade, channel, counter, time, salt, definition, evidence = proof_shape(lambda: read_proof(vector["header"]))
    after = vector["after_ms"]
    need(channel.hex() == vector["channel"] and after < vector["life_ms"], BAD_PROOF, "unknown_channel")
    base, taken = vector["base"], vector["taken"]
    highest = max([base, *taken])
    fresh = counter > base and counter not in taken and counter > highest - 1024
    need(fresh, "replayed", "replayed")
    need(abs(vector["now_ms"] + after - time) <= 30_000, BAD_PROOF, "time")
    if vector["protocol"] == "mcp":
        target = lp(vector["method"].encode(), vector["target"].encode(), definition)
    else:
        target = lp(*(vector[part].encode() for part in ("method", "path", "query", "content_type")))
    body = bytes.fromhex(vector["body"])
    binding = lp(
        b"remit/pop/v1",
        bytes.fromhex(vector["mesh"]),
        channel,
        vector["edge"].encode(),
        bytes.fromhex(vector["leaf"]),
        counter.to_bytes(8, "big"),
        time.to_bytes(8, "big"),
        vector["protocol"].encode(),
        target,
        salt,
        sha256(salt, body),
        vector["idempotency_key"].encode(),
    )
    if "binding" in vector:
        assert binding.hex() == vector["binding"], "the binding differs"
    if grade == 1:
        good = hmac.compare_digest(hmac.new(key, binding, hashlib.sha256).digest(), evidence)
    else:
        good = verifies(bytes.fromhex(vector["holder"]), evidence, binding)
    need(good, BAD_PROOF, "evidence")
    return {"verdict": "accept", "grade": f"P{grade}"}


# --- all of them

KINDS = {"envelope": judge_envelope, "channel": judge_channel, "proof": judge_proof}


def judge(vector):
    try:
        return KINDS[vector["kind"]](vector)
    except Reject as refused:
        more = "hop" if vector["kind"] == "envelope" else "fault"
        return {"verdict": "reject", "reason": refused.reason, more: refused.more}


def main():
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "v1"
    files = sorted(folder.glob("*.json"))
    wrong, verdicts = 0, {}
    for file in files:
        vector = json.loads(file.read_text())
        expected = vector.pop("expected")
        found = judge(vector)
        expected.pop("detail", None)  # one implementation's words
        verdicts[found.get("reason", "accept")] = verdicts.get(found.get("reason", "accept"), 0) + 1
        if found != expected:
            wrong += 1
            print(f"{file.name}: {vector['description']}\n  expected {json.dumps(expected)}\n  found    {json.dumps(found)}")
    counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    print(f"vectors: {len(files)} judged a second time, {wrong} differ ({counts})")
    return 1 if wrong or len(files) < 250 else 0


if __name__ == "__main__":
    sys.exit(main())
