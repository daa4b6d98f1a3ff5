"""Says where a server puts the log-probabilities of a prompt's own tokens: places.py http://HOST:PORT/v1 MODEL

Asked is `POST /completions` with `echo`, about a text that says the same over and over: behind its first half, the likeliest
candidate at a place is the token that stands there. Printed is one of
  own        as it should be
  next       one place off: what stands at a token belongs to the token behind it
  none       the reply has no log-probabilities
  refused: … the server's words
  unclear: … neither
"""

import json
import sys
import urllib.error
import urllib.request


def ask(url, model):
    text = "one red fox, two blue cats, six old dogs; " * 6
    body = {"model": model, "prompt": text, "max_tokens": 1, "temperature": 0.0, "echo": True, "logprobs": 1}
    request = urllib.request.Request(
        url + "/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    # No proxy: it would be a way out of this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=600) as reply:
        return json.load(reply)["choices"][0].get("logprobs")


def places(columns):
    tokens = columns["tokens"]
    likeliest = [max(top, key=top.get) if top else None for top in columns["top_logprobs"]]
    half = len(tokens) // 2

    def hits(ahead):
        return sum(likeliest[at] == tokens[at + ahead] for at in range(half, len(tokens) - 1))

    own, behind = hits(0), hits(1)
    if max(own, behind) < half // 2:
        return f"unclear: {own} and {behind} of {half}"
    return "own" if own > behind else "next"


def main(url, model):
    try:
        columns = ask(url, model)
    except urllib.error.HTTPError as error:
        return "refused: " + " ".join(error.read().decode(errors="replace").split())[:200]
    return places(columns) if columns else "none"


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    print(main(*sys.argv[1:]))
