#!/usr/bin/env python3
"""Writes an OCI archive of one layer and prints the digest of its manifest.

usage: image.py OUT.tar NAME ENTRYPOINT_JSON SRC[:DEST]...

The shared libraries of each program are added where they stand. "busybox" as a SRC adds busybox with
its usual links and a /tmp (the dynamic one: the static one crashes on name look-ups). Same files,
same digest: times and owners are left out. For the local cluster only: packaging/Containerfile makes a release's image.
"""
import hashlib, io, json, os, platform, subprocess, sys, tarfile

APPLETS = "sh sleep echo cat wget httpd ls false true nc env date dd head tail yes kill rm mkdir touch grep sed".split()
ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


def collect(sources):
    """What goes where: destination to (kind, source or target)."""
    files = {}
    for source in sources:
        if source == "busybox":
            files.update({f"/bin/{applet}": ("link", "busybox") for applet in APPLETS})
            files["/tmp"] = ("directory", None)
            source = "/bin/busybox"
        src, _, dest = source.partition(":")
        files[dest or src] = ("file", src)
        for library in libraries(src):
            files[library] = ("file", os.path.realpath(library))
    return files


def libraries(path):
    """Absolute paths in what ldd prints; none for a file that is not a dynamic program."""
    out = subprocess.run(["ldd", path], capture_output=True, text=True).stdout
    return [word for line in out.splitlines() for word in line.split() if word.startswith("/")]


def layer(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        seen = set()

        def parents(path):
            parent = os.path.dirname(path)
            if parent and parent not in seen:
                parents(parent)
                seen.add(parent)
                info = tarfile.TarInfo(parent)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)

        for dest, (kind, value) in sorted(files.items()):
            dest = dest.lstrip("/")
            parents(dest)
            info = tarfile.TarInfo(dest)
            if kind == "link":
                info.type, info.linkname = tarfile.SYMTYPE, value
                tar.addfile(info)
            elif kind == "directory":
                info.type, info.mode = tarfile.DIRTYPE, 0o1777
                tar.addfile(info)
            else:
                with open(value, "rb") as file:
                    data = file.read()
                info.size, info.mode = len(data), 0o755 if os.access(value, os.X_OK) else 0o644
                tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def main():
    out, name, entrypoint, *sources = sys.argv[1:]
    blob = layer(collect(sources))
    media = "application/vnd.oci.image."
    config = json.dumps({
        "architecture": ARCHITECTURE, "os": "linux",
        "config": {"Entrypoint": json.loads(entrypoint), "Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], "User": "65532:65532"},
        "rootfs": {"type": "layers", "diff_ids": [digest(blob)]},
    }).encode()
    manifest = json.dumps({
        "schemaVersion": 2, "mediaType": media + "manifest.v1+json",
        "config": {"mediaType": media + "config.v1+json", "digest": digest(config), "size": len(config)},
        "layers": [{"mediaType": media + "layer.v1.tar", "digest": digest(blob), "size": len(blob)}],
    }).encode()
    index = json.dumps({
        "schemaVersion": 2,
        "manifests": [{"mediaType": media + "manifest.v1+json", "digest": digest(manifest), "size": len(manifest),
                       "annotations": {"io.containerd.image.name": name}}],
    }).encode()
    entries = [("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'), ("index.json", index)]
    entries += [("blobs/sha256/" + digest(data)[7:], data) for data in (blob, config, manifest)]
    with tarfile.open(out, "w") as tar:
        for path, data in entries:
            info = tarfile.TarInfo(path)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    print(digest(manifest))


main()
