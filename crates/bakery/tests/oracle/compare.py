"""Runs a list of tasks or a playbook with ansible-core and with bakery, each on an overlay of its own over this machine's
files: in check mode, then for real, then again. Says where results or the files left behind differ; of a playbook, whose
tasks are its roles' own, what both programs print is compared line by line.

    compare.py CASE.yml      the exit code is 0 when nothing differs

Comments at a case's head may say: `facts` (they are gathered first), `network` (the machine's own network is used),
`setup: COMMAND` (a shell command that runs first, told in WHO which of both will follow), `teardown: COMMAND` (one that runs last, for what outlives the overlay), `from PACKAGE` (whose roles a
playbook uses; they are copied to where both look for roles), `without PATH: reason` (files that are not compared). A task's variable
`differs` names what is not compared of its result, as `KEY: reason`, `ROUND.KEY: reason` or `all: reason`.

Compared: changed, failed, skipped, and of results that did not fail whatever ansible-core returned, but for times, process
numbers and texts of warnings; of files: type, mode, owner, group, content, target of links.

ROLES: the folder of unpacked packages with roles. PROGRAMS: the folder of bakery. VENV: that of ansible-core's programs. COLLECTIONS: that of Ansible's collections.
KEEP: a folder where ansible-core's side is kept for the next time.
"""

import difflib
import hashlib
import inspect
import json
import os
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile

import yaml

ROUNDS = ("check", "first", "second")
VOLATILE = {
    "start", "end", "delta", "invocation", "diff", "warnings", "deprecations", "exception", "atime", "mtime", "ctime",
    "inode", "dev", "device", "failed_when_result", "module_stdout", "module_stderr", "elapsed", "ansible_job_id",
    "results_file", "ansible_version", "cache_update_time", "src", "finished", "started", "stdout_lines",
    "stderr_lines", "started_at", "attempts", "origin", "category", "date",
}
# What the programs themselves leave, and what holds dates.
NOT_COMPARED = re.compile(
    r"^/(oracle|mnt|proc|sys|dev|tmp|run/(lvm|zypp\.pid|lock|sudo|mysqld|postgresql|apache2)|root/\.(rpmdb|npm|gnupg|ansible|ansible_async|cache|bakery)|var/(tmp|log|cache|lib/(zypp|selinux/[^/]*/tmp|selinux/final|apt|mysql|postgresql|rpm|dpkg/(info|.*-old|status.*|.*lock.*)))"
    r"|usr/(lib/python3|share/(doc|man|python3))|etc/ld\.so\.cache)(/|$)|__pycache__|\.swp$|^/run/.*pid$"
)
STAMP = re.compile(r"\.\d+\.\d{4}-\d\d-\d\d@\d\d:\d\d:\d\d~")


def steady(value):
    """A value without what is another one on every run."""
    if isinstance(value, dict):
        return {key: steady(item) for key, item in value.items() if key not in VOLATILE and not key.startswith("_ansible")}
    if isinstance(value, list):
        return [steady(item) for item in value]
    if isinstance(value, str):
        value = re.sub(r"/(tmp|root/\.ansible/tmp)/[\w.\-/]+", "/tmp/FILE", value)
        return STAMP.sub(".PID.DATE~", value)
    return value


def entry(path):
    """What a file is, but for its times; None when there is none."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFCHR and status.st_rdev == 0:
        return None
    content = ""
    if kind == stat.S_IFLNK:
        content = os.readlink(path)
    elif kind == stat.S_IFREG:
        held = pathlib.Path(path).read_bytes()
        # Short texts are shown as they are, so that a difference can be read.
        content = held.decode("latin-1") if len(held) < 1000 else hashlib.sha256(held).hexdigest()
        content = re.sub(r"# \(.* installed on .*\)", "# (FILE installed on DATE)", content)
    return [oct(status.st_mode) if kind != stat.S_IFLNK else "link", status.st_uid, status.st_gid, content]


def tree():
    """The files that are others than before."""
    found = {}
    for folder, folders, files in os.walk("/mnt/upper"):
        inside = folder[len("/mnt/upper"):]
        folders[:] = [name for name in folders if not NOT_COMPARED.search(f"{inside}/{name}")]
        for name in folders + files:
            path = f"{inside}/{name}"
            if NOT_COMPARED.search(path):
                continue
            now, before = entry("/mnt/upper" + path), entry("/mnt/lower" + path)
            if now != before:
                found[STAMP.sub(".PID.DATE~", path)] = now
    return found


def is_playbook(content):
    return any({"hosts", "import_playbook"} & item.keys() for item in content)


def printed(output):
    """The lines that a playbook's run prints, without the paragraphs that explain an error and what is another on every run."""
    lines, explaining = [], False
    for line in output.splitlines():
        if line.startswith("[ERROR]"):
            explaining = True
        elif re.match(r"(TASK|PLAY|RUNNING HANDLER|fatal:|failed:|ok:|changed:|skipping:|included:|\.\.\.)", line):
            explaining = False
        if line and not explaining:
            # A result in a label is told in another order, and with the arguments as each program reads them.
            line = re.sub(r"\(item=\W*\{.*'invocation': .*", "(item=a result)", line)
            # What is said of a failure is each program's own.
            line = re.sub(r"^((fatal|failed): .*?) => \{.*", r"\1", line.rstrip())
            lines.append(steady(re.sub(r"\*{3,}", "***", line)))
    return lines


def wrapped(tasks, prefix=""):
    """The tasks with names to register their results under, and the names."""
    names = []
    for number, task in enumerate(tasks):
        inner = [key for key in ("block", "rescue", "always") if key in task]
        for key in inner:
            names += wrapped(task[key], f"{prefix}{number}{key}_")
        if inner or {"meta", "include_tasks", "import_tasks"} & task.keys():
            continue
        task.setdefault("register", f"r_{prefix}{number}")
        # A task that fails inside a block is the block's affair.
        if not prefix:
            task.setdefault("ignore_errors", True)
        names.append(task["register"])
    return names


def copy_roles(package):
    """Copies a package's roles to where both programs look for roles."""
    (folder,) = pathlib.Path(os.environ["ROLES"]).glob(f"roles-{package}-[0-9]*")
    for tasks in sorted(folder.glob("**/roles/**/tasks/main.y*ml")):
        role = tasks.parent.parent
        shutil.copytree(role, f"/root/.ansible/roles/{role.name}", dirs_exist_ok=True)


def inside(case, who):
    """Runs all rounds; on the overlay."""
    text = pathlib.Path(case).read_text()
    head = [line[2:] for line in text.splitlines() if line.startswith("# ")]
    for line in head:
        if line.startswith("setup: "):
            environment = dict(os.environ, HERE=str(pathlib.Path(__file__).parent))
            subprocess.run(line[7:], shell=True, check=True, stdout=sys.stderr, env=environment)
    os.makedirs("/oracle")
    tasks = yaml.safe_load(text)
    names = []
    if is_playbook(tasks):
        pathlib.Path("/oracle/play.yml").write_text(text)
    else:
        names = wrapped(tasks)
        values = ", ".join(f"'{name}': {name} | default(none)" for name in names)
        results = {"copy": {"dest": "/oracle/results", "content": "{{ {" + values + "} | to_json }}"}, "check_mode": False}
        play = [{"hosts": "all", "gather_facts": "facts" in head, "tasks": [*tasks, results]}]
        pathlib.Path("/oracle/play.yml").write_text(json.dumps(play))
    venv, programs = os.environ["VENV"], os.environ["PROGRAMS"]
    program = [f"{venv}/ansible-playbook"] if who == "ansible" else [f"{programs}/bakery", "play"]
    environment = dict(
        PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", HOME="/root", USER="root", LANG="C.UTF-8",
        NO_COLOR="1", ANSIBLE_NOCOLOR="1", ANSIBLE_PIPELINING="1", ANSIBLE_LOCALHOST_WARNING="false",
        BAKERY_HOME="/oracle/store", ANSIBLE_COLLECTIONS_PATH=os.environ["COLLECTIONS"],
    )
    if is_playbook(tasks):
        # Its plugins in Python want an installed ansible-core.
        environment.update(PATH=f"{environment['PATH']}:{venv}", ANSIBLE_ALLOW_BROKEN_CONDITIONALS="1")
    rounds = []
    for which in ROUNDS:
        pathlib.Path("/oracle/results").unlink(missing_ok=True)
        run = subprocess.run(
            [*program, "-i", "localhost,", "-c", "local", "-e", "ansible_python_interpreter=/usr/bin/python3",
             *(["--check"] if which == "check" else []), "/oracle/play.yml"],
            env=environment, cwd="/oracle", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
            # Warnings and what an error is explained with are each program's own.
            stderr=subprocess.DEVNULL if is_playbook(tasks) and not os.environ.get("SAY") else subprocess.STDOUT,
        )
        if os.environ.get("SAY"):
            print(run.stdout, file=sys.stderr)
        if is_playbook(tasks):
            rounds.append({"results": {}, "output": run.stdout, "tree": tree()})
            continue
        try:
            told = json.loads(pathlib.Path("/oracle/results").read_text())
        except OSError:
            raise SystemExit(f"{who} did not come to the end:\n{run.stdout}")
        rounds.append({"results": {name: told[name] for name in names}, "tree": tree()})
    print(json.dumps(rounds))


def to_the_end(case, who):
    """Runs all rounds, with the roles that they want before them, and after them what puts back what an overlay does not hold."""
    os.environ["WHO"] = who
    lines = pathlib.Path(case).read_text().splitlines()
    for line in lines:
        if line.startswith("# from "):
            copy_roles(line[7:])
    try:
        inside(case, who)
    finally:
        for line in lines:
            if line.startswith("# teardown: "):
                subprocess.run(line[12:], shell=True, check=True, stdout=sys.stderr)


def observe(case, who):
    """What a program does with a case: for every round its results and the files that are others."""
    text = pathlib.Path(case).read_text()
    environment = dict(os.environ, UNSHARE="--uts" if "\n# network\n" in f"\n{text}" else "--net --uts", LIMIT="550")
    overlay = pathlib.Path(__file__).parent.parent / "on-overlay"
    run = subprocess.run(
        [overlay, sys.executable, os.path.realpath(__file__), "--inside", os.path.realpath(case), who],
        env=environment, stdout=subprocess.PIPE, text=True,
    )
    if run.returncode != 0:
        raise SystemExit(f"{who}: exit code {run.returncode}\n{run.stdout}")
    return json.loads(run.stdout)


def place_to_keep(case):
    """Where ansible-core's side of a case is kept; None when it is not."""
    if not os.environ.get("KEEP"):
        return None
    text = pathlib.Path(case).read_text()
    packages = pathlib.Path("/var/lib/dpkg/status").read_bytes()
    # What a comparison leaves out may change without anything being asked again.
    asking = "".join(inspect.getsource(part) for part in (inside, wrapped, tree, entry))
    if "\n# from " in f"\n{text}":
        asking += inspect.getsource(copy_roles) + pathlib.Path(__file__).with_name("mend-roles").read_text()
    digest = hashlib.sha256(text.encode() + packages + asking.encode()).hexdigest()[:32]
    return pathlib.Path(os.environ["KEEP"]) / digest


def keep(rounds, place):
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as file:
        json.dump(rounds, file)
    os.replace(file.name, place)


def unequal(left, right, where):
    """Lines about where two values differ; lists of files are compared by their paths, for no order is promised."""
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            yield from unequal(left.get(key), right.get(key), f"{where}.{key}")
    elif isinstance(left, list) and isinstance(right, list) and left and all(isinstance(x, dict) and "path" in x for x in left + right):
        keyed = [{item["path"]: item for item in side} for side in (left, right)]
        yield from unequal(*keyed, where)
    elif left != right:
        yield f"{where}: {left!r} against {right!r}"


def differences(theirs, ours, differs, where, which):
    """Lines about one task's result."""
    if "all" in differs:
        return
    if theirs is None or ours is None:
        if theirs is not ours:
            yield f"{where}: {theirs!r} against {ours!r}"
        return
    loop = isinstance(theirs.get("results"), list) and isinstance(ours.get("results"), list)
    if loop and all(isinstance(item, dict) for item in theirs["results"]):
        if len(theirs["results"]) != len(ours["results"]):
            yield f"{where}: {len(theirs['results'])} items against {len(ours['results'])}"
        for number, (left, right) in enumerate(zip(theirs["results"], ours["results"])):
            yield from differences(left, right, differs, f"{where}[{number}]", which)
        theirs = {key: value for key, value in theirs.items() if key not in ("results", "msg")}
    if bool(ours.get("failed")) > bool(theirs.get("failed")) and "failed" not in differs:
        yield f"{where} failed: {ours.get('msg')}"
        return
    states = ("changed", "failed", "skipped", "unreachable", "rc")
    # Sentences about what went wrong are each program's own.
    keys = states if theirs.get("failed") or theirs.get("skipped") else sorted(theirs.keys() | {"failed"})
    for key in keys:
        left, right = theirs.get(key), ours.get(key)
        if key in ("changed", "failed", "skipped"):
            left, right = bool(left), bool(right)
        why = f" ({theirs.get('msg')})" if key == "failed" else ""
        for line in unequal(left, right, key):
            # What is named is not compared, nor what is in it.
            named = {end for name in differs for end in (f"{name}:", f"{name}.")}
            if not any(told.startswith(tuple(named)) for told in (line, f"{which}.{line}")):
                yield f"{where}.{line}{why}"


def compared(case, theirs, ours):
    """Lines about where the two sides differ."""
    tasks = yaml.safe_load(pathlib.Path(case).read_text())
    names = [] if is_playbook(tasks) else wrapped(tasks)
    flat = {}

    def remember(tasks):
        for task in tasks:
            for key in ("block", "rescue", "always"):
                remember(task.get(key, []))
            flat[task.get("register")] = task

    remember(tasks)
    head = [line[2:] for line in pathlib.Path(case).read_text().splitlines() if line.startswith("# ")]
    without = [line[8:].split(": ")[0] for line in head if line.startswith("without ")]
    # A difference is told once, with the round that it was first seen in.
    wrong = {}
    for which, left, right in zip(ROUNDS, theirs, ours):
        for name in names:
            differs = flat[name].get("vars", {}).get("differs", {})
            results = [steady(side["results"][name]) for side in (left, right)]
            for line in differences(*results, differs, name, which):
                wrong.setdefault(line, which)
        for who, side in (("ansible-core", left), ("bakery", right)):
            # Two that did not get to the end would be equal.
            if "PLAY RECAP" not in side.get("output", "PLAY RECAP"):
                return [f"{which}: {who} did not come to the end:\n{side['output']}"]
        outputs = [printed(side.get("output", "")) for side in (left, right)]
        for line in difflib.unified_diff(*outputs, "", "", n=1, lineterm=""):
            wrong.setdefault(f"{line:.300}", which)
        for path in sorted(left["tree"].keys() | right["tree"].keys()):
            if path.startswith(tuple(without)) or NOT_COMPARED.search(path):
                continue
            a, b = left["tree"].get(path, "as before"), right["tree"].get(path, "as before")
            if a != b:
                wrong.setdefault(f"{path}: {a or 'gone'} against {b or 'gone'}", which)
    return [f"{which} {line}" for line, which in wrong.items()]


def main(case):
    ours, place = observe(case, "bakery"), place_to_keep(case)
    wrong = compared(case, json.loads(place.read_text()), ours) if place and place.exists() else None
    # What was kept may be of a day when a mirror had other packages: no difference is told before both have been asked.
    if wrong is None or wrong:
        theirs = observe(case, "ansible")
        wrong = compared(case, theirs, ours)
        if place:
            keep(theirs, place)
    if wrong:
        raise SystemExit("ansible-core against bakery:\n" + "\n".join(wrong))


def as_first_process(work):
    """Does the work in a child. The first process of its namespace takes note of daemons that end, or who stops them waits
    for ever."""
    child = os.fork()
    if child == 0:
        work()
        sys.stdout.flush()
        os._exit(0)
    while True:
        ended, status = os.wait()
        if ended == child:
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    if sys.argv[1] == "--inside":
        as_first_process(lambda: to_the_end(sys.argv[2], sys.argv[3]))
    else:
        main(sys.argv[1])
