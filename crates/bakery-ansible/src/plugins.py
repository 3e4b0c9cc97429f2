# Runs plugins of projects and collections that are written in Python, with an installed ansible-core.
# One JSON request a line on standard input, one JSON answer a line on the standard output that it started with.
import json
import os
import sys

answers = os.fdopen(os.dup(1), 'w')
# What plugins print must not be taken for answers.
os.dup2(2, 1)

setup = json.loads(sys.stdin.readline())
os.environ.setdefault('ANSIBLE_COLLECTIONS_PATH', ':'.join(setup['collections']))

from ansible import constants as C
from ansible import context
from ansible.module_utils.common.collections import ImmutableDict
context.CLIARGS = ImmutableDict(verbosity=setup['verbosity'], check=False, diff=False)
from ansible.utils.display import Display
Display().verbosity = setup['verbosity']
from ansible.plugins import loader as loaders
# Before 2.15 it is ready as soon as it is loaded.
getattr(loaders, 'init_plugin_loader', lambda _: None)(setup['collections'])
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible.playbook.play_context import PlayContext
from ansible.playbook.task import Task

KINDS = dict(filter=loaders.filter_loader, test=loaders.test_loader, lookup=loaders.lookup_loader, action=loaders.action_loader)
for kind, folders in setup['folders'].items():
    for folder in folders:
        KINDS[kind].add_directory(folder)

for folder in setup['libraries']:
    loaders.module_loader.add_directory(folder)

data = DataLoader()
data.set_basedir(setup['basedir'])


def plain(value):
    if isinstance(value, dict):
        return {k if isinstance(k, str) else str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if hasattr(value, '__next__') or hasattr(value, '__iter__') and not isinstance(value, (str, bytes)):
        return [plain(v) for v in value]
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else str(value)


class Broken(Exception):
    """A plugin that is there and cannot be loaded."""


def load(kind, name):
    """A filter, a test or the class of a lookup; None if there is none."""
    try:
        if kind == 'lookup':
            return KINDS[kind].get(name, class_only=True)
        found = KINDS[kind].get(name)
        if found is not None:
            # What templates ask of a plugin before they call it.
            getattr(found.j2_function, 'accept_args_markers', False)
        return found
    except KeyError:
        raise
    except Exception as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise Broken(f'The {kind} plugin {name!r} failed to load: {cause}')


def find(request):
    plugin = KINDS[request['kind']]
    name = request['name']
    collections = request.get('collections') or None
    try:
        if request['kind'] in ('filter', 'test'):
            return load(request['kind'], name) is not None
        return plugin.find_plugin_with_context(name, collection_list=collections).resolved
    except KeyError:
        return False
    except Broken:
        return True


def call(request):
    kind, name = request['kind'], request['name']
    if kind in ('filter', 'test'):
        plugin = load(kind, name)
        return plain(plugin.j2_function(request['value'], *request['args'], **request['kwargs']))
    variables = request['variables']
    templar = Templar(loader=data, variables=variables)
    if kind == 'lookup':
        load(kind, name)
        plugin = loaders.lookup_loader.get(name, loader=data, templar=templar)
        return plain(plugin.run(request['args'], variables=variables, **request['kwargs']))
    task = Task()
    task.action = request['task']
    task.collections = request['collections'] or None
    task.args = dict(request['kwargs'])
    task.check_mode = request['check']
    task.diff = request['diff']
    play_context = PlayContext()
    connection = loaders.connection_loader.get('ansible.builtin.local', play_context)
    connection.set_options()
    loaders.shell_loader
    action = loaders.action_loader.get(
        name, task=task, connection=connection, play_context=play_context, loader=data, templar=templar,
        shared_loader_obj=loaders, collection_list=request.get('collections') or None)
    try:
        from ansible._internal._task import TaskContext
    except ImportError:
        return plain(action.run(task_vars=variables))
    with TaskContext(task):
        return plain(action.run(task_vars=variables))


for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = dict(value=find(request) if request['op'] == 'find' else call(request))
    except Broken as error:
        answer = dict(broken=str(error))
    except Exception as error:
        answer = dict(error=str(error) or type(error).__name__)
    answers.write(json.dumps(answer) + '\n')
    answers.flush()
