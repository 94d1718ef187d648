"""The examples of the page at ``/docs``, each a whole program: it reads ``photo.jpg`` and writes what it says."""

from __future__ import annotations

from dataclasses import dataclass

BASE = "http://127.0.0.1:8765"
"""The address in the examples: that of a server that was started without options."""


@dataclass(frozen=True)
class Example:
    """A program.

    Attributes:
        section: which part of the page it belongs to.
        language: as people call it.
        suffix: of a file with it.
        code: the program.
        writes: the file that it makes.
    """

    section: str
    language: str
    suffix: str
    code: str
    writes: str = "cutout.png"


_CURL_ONE = """\
curl --fail-with-body -H "Authorization: Bearer $TOKEN" -H 'Content-Type: image/jpeg' \\
  --data-binary @photo.jpg 'http://127.0.0.1:8765/api/v1/remove?decontaminate=1' -o cutout.png
"""

_URLLIB_ONE = """\
import json, os, urllib.error, urllib.request

photo = open("photo.jpg", "rb").read()
headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "image/jpeg"}
request = urllib.request.Request("http://127.0.0.1:8765/api/v1/remove?decontaminate=1", photo, headers)
try:
    with urllib.request.urlopen(request) as answer:
        info = json.loads(answer.headers["Nss-Info"])
        open("cutout.png", "wb").write(answer.read())
except urllib.error.HTTPError as error:
    raise SystemExit(json.load(error)["detail"])
print(info["model"], "on", info["device"] or info["backend"], info["milliseconds"])
"""

_REQUESTS_ONE = """\
import os, requests

session = requests.Session()
session.headers["Authorization"] = "Bearer " + os.environ["TOKEN"]
fields = {"decontaminate": 1, "format": "png"}
with open("photo.jpg", "rb") as photo:
    answer = session.post("http://127.0.0.1:8765/api/v1/remove", params=fields, data=photo)
if not answer.ok:
    raise SystemExit(answer.json()["detail"])
open("cutout.png", "wb").write(answer.content)
"""

_FETCH_ONE = """\
import { readFile, writeFile } from 'node:fs/promises'

const answer = await fetch('http://127.0.0.1:8765/api/v1/remove?decontaminate=1', {
  method: 'POST',
  headers: { Authorization: `Bearer ${process.env.TOKEN}`, 'Content-Type': 'image/jpeg' },
  body: await readFile('photo.jpg'), // in a page: the File that was dropped or chosen
})
if (!answer.ok) throw new Error((await answer.json()).detail)
await writeFile('cutout.png', Buffer.from(await answer.arrayBuffer())) // in a page: await answer.blob()
"""

_CURL_JOB = """\
base=http://127.0.0.1:8765
auth="Authorization: Bearer $TOKEN"
job=$(curl -fsS -D - -o job.json -H "$auth" -H 'Content-Type: image/jpeg' --data-binary @photo.jpg \\
  "$base/api/v1/jobs?background=white" | tr -d '\\r' | sed -n 's/^[Ll]ocation: //p')
curl -fsSN -H "$auth" "$base$job/events"                    # ends when the job does
curl -fsS -H "$auth" "$base$job/result" -o cutout.png
curl -fsS -H "$auth" -X DELETE "$base$job"                  # or it is forgotten by itself after a while
"""

_URLLIB_JOB = """\
import json, os, urllib.request

BASE = "http://127.0.0.1:8765"

def call(method, path, body=None):
    headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "image/jpeg"}
    return urllib.request.urlopen(urllib.request.Request(BASE + path, body, headers, method=method))

path = call("POST", "/api/v1/jobs?background=white", open("photo.jpg", "rb").read()).headers["Location"]
for line in call("GET", path + "/events"):
    if line.startswith(b"data: "):
        job = json.loads(line[6:])
        print(job["state"], job.get("stage"), job.get("progress"))
if job["state"] == "failed":
    raise SystemExit(job["problem"]["detail"])
open("cutout.png", "wb").write(call("GET", path + "/result").read())
call("DELETE", path)
"""

_REQUESTS_JOB = """\
import json, os, requests

BASE = "http://127.0.0.1:8765"
session = requests.Session()
session.headers["Authorization"] = "Bearer " + os.environ["TOKEN"]

with open("photo.jpg", "rb") as photo:
    sent = session.post(BASE + "/api/v1/jobs", params={"background": "white"}, data=photo)
sent.raise_for_status()
url = BASE + sent.headers["Location"]
with session.get(url + "/events", stream=True) as events:
    for line in events.iter_lines():
        if line.startswith(b"data: "):
            job = json.loads(line[6:])
            print(job["state"], job.get("stage"), job.get("progress"))
if job["state"] == "failed":
    raise SystemExit(job["problem"]["detail"])
open("cutout.png", "wb").write(session.get(url + "/result").content)
session.delete(url)
"""

_FETCH_JOB = """\
import { readFile, writeFile } from 'node:fs/promises'

const base = 'http://127.0.0.1:8765'
async function call(path, options = {}) {
  const headers = { Authorization: `Bearer ${process.env.TOKEN}`, ...options.headers }
  const answer = await fetch(base + path, { ...options, headers })
  if (!answer.ok) throw new Error((await answer.json()).detail)
  return answer
}

const sent = await call('/api/v1/jobs?background=white', {
  method: 'POST',
  headers: { 'Content-Type': 'image/jpeg' },
  body: await readFile('photo.jpg'),
})
const path = sent.headers.get('Location')

// an EventSource cannot send the token, and fetch can read the same
let job = await sent.json()
let text = ''
for await (const chunk of (await call(path + '/events')).body.pipeThrough(new TextDecoderStream())) {
  text += chunk
  const events = text.split('\\n\\n')
  text = events.pop()
  for (const event of events) {
    const data = event.split('\\n').find((line) => line.startsWith('data: '))
    if (!data) continue // a sign of life
    job = JSON.parse(data.slice(6))
    console.log(job.state, job.stage, job.progress)
  }
}
if (job.state === 'failed') throw new Error(job.problem.detail)
await writeFile('cutout.png', Buffer.from(await (await call(path + '/result')).arrayBuffer()))
await call(path, { method: 'DELETE' })
"""

_CURL_FILES = """\
base=http://127.0.0.1:8765/api/v1
send() {
  curl -fsS -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/octet-stream' --data-binary "@$1" "$2"
}
id_of() { sed 's/.*"id": *"\\([^"]*\\)".*/\\1/'; }
mask=$(send mask.png "$base/files" | id_of)
beach=$(send beach.jpg "$base/files" | id_of)
send photo.jpg "$base/remove?mask=$mask&background=$beach&format=jpeg" > cutout.jpg
"""

_URLLIB_FILES = """\
import json, os, urllib.parse, urllib.request

def send(path, name, **fields):
    headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/octet-stream"}
    url = "http://127.0.0.1:8765/api/v1/" + path + "?" + urllib.parse.urlencode(fields)
    return urllib.request.urlopen(urllib.request.Request(url, open(name, "rb").read(), headers)).read()

mask = json.loads(send("files", "mask.png"))["id"]
beach = json.loads(send("files", "beach.jpg"))["id"]
open("cutout.jpg", "wb").write(send("remove", "photo.jpg", mask=mask, background=beach, format="jpeg"))
"""

_FETCH_FILES = """\
import { readFile, writeFile } from 'node:fs/promises'

async function send(path, name, fields = {}) {
  const answer = await fetch(`http://127.0.0.1:8765/api/v1/${path}?${new URLSearchParams(fields)}`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${process.env.TOKEN}`, 'Content-Type': 'application/octet-stream' },
    body: await readFile(name),
  })
  if (!answer.ok) throw new Error((await answer.json()).detail)
  return answer
}

const mask = (await (await send('files', 'mask.png')).json()).id
const background = (await (await send('files', 'beach.jpg')).json()).id
const cutout = await send('remove', 'photo.jpg', { mask, background, format: 'jpeg' })
await writeFile('cutout.jpg', Buffer.from(await cutout.arrayBuffer()))
"""

_NETWORK_MASK = """\
import os, urllib.request
import numpy as np

headers = {
    "Authorization": "Bearer " + os.environ["TOKEN"],
    "Content-Type": "image/jpeg",
    "Accept": "application/x-nss-mask",
}
photo = open("photo.jpg", "rb").read()
with urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:8765/api/v1/remove", photo, headers)) as answer:
    size = int(answer.headers["Nss-Height"]), int(answer.headers["Nss-Width"])
    mask = np.frombuffer(answer.read(), "<f4").reshape(size)  # 0 to 1, at the network's own size
np.save("mask.npy", mask)
"""

EXAMPLES = (
    Example("one", "curl", ".sh", _CURL_ONE),
    Example("one", "Python, without other packages", ".py", _URLLIB_ONE),
    Example("one", "Python, with requests", ".py", _REQUESTS_ONE),
    Example("one", "JavaScript", ".mjs", _FETCH_ONE),
    Example("jobs", "curl", ".sh", _CURL_JOB),
    Example("jobs", "Python, without other packages", ".py", _URLLIB_JOB),
    Example("jobs", "Python, with requests", ".py", _REQUESTS_JOB),
    Example("jobs", "JavaScript", ".mjs", _FETCH_JOB),
    Example("files", "curl", ".sh", _CURL_FILES, "cutout.jpg"),
    Example("files", "Python", ".py", _URLLIB_FILES, "cutout.jpg"),
    Example("files", "JavaScript", ".mjs", _FETCH_FILES, "cutout.jpg"),
    Example("network-mask", "Python, with NumPy", ".py", _NETWORK_MASK, "mask.npy"),
)
