# Runs Jinja2's own test suite and records every template that it renders: as JSON lines, what was rendered with what, and
# the answer that Jinja2 gives when it is configured as Ansible configures it (undefined values are errors, none is no
# text, `do` and loop controls are there). What a template language alone cannot do, such as Python objects among the
# variables, is left out, with the reason.
#
#   record-jinja.py FOLDER-OF-THE-TESTS
import json
import random
import sys
from collections import Counter

import jinja2
import jinja2.environment
import jinja2.ext
import jinja2.runtime
import pytest

PLAIN = jinja2.Environment()
SYNTAX = ['block_start_string', 'block_end_string', 'variable_start_string', 'variable_end_string',
          'comment_start_string', 'comment_end_string', 'line_statement_prefix', 'line_comment_prefix', 'trim_blocks',
          'lstrip_blocks', 'newline_sequence', 'keep_trailing_newline']
KNOWN_EXTENSIONS = {'jinja2.ext.ExprStmtExtension', 'jinja2.ext.LoopControlExtension'}

cases, left_out, seen = [], Counter(), set()
current = ['']


class CannotSay(Exception):
    pass


def plain(value):
    """JSON of a value, with lists and dictionaries tagged; CannotSay for what only Python has."""
    if value is None or type(value) in (bool, str):
        return value
    if type(value) is int:
        if abs(value) >= 2 ** 126:
            raise CannotSay('numbers beyond 127 bits')
        return {'int': str(value)}
    if type(value) is float:
        return {'float': repr(value)}
    if type(value) in (list, tuple, range):
        return {'tuple' if type(value) is tuple else 'list': [plain(v) for v in value]}
    if type(value) is dict:
        return {'map': [[plain(k), plain(v)] for k, v in value.items()]}
    raise CannotSay('Python objects among the variables')


def options(env):
    """Why an environment cannot be had from a template alone, else its options."""
    if type(env).__name__ not in ('Environment', 'NativeEnvironment') or type(env).__module__.split('.')[0] != 'jinja2':
        raise CannotSay('environments of another class')
    if env.is_async:
        raise CannotSay('asynchronous templates')
    if env.autoescape:
        raise CannotSay('autoescape')
    if env.finalize:
        raise CannotSay('a finalize function in Python')
    if set(env.extensions) - KNOWN_EXTENSIONS:
        raise CannotSay('extensions in Python, and i18n')
    for name in ('filters', 'tests', 'globals'):
        mine, theirs = getattr(env, name), getattr(PLAIN, name)
        if set(mine) != set(theirs) or any(mine[k] is not theirs[k] for k in mine):
            raise CannotSay('filters, tests or functions in Python')
    if env.policies != PLAIN.policies:
        raise CannotSay('policies of the environment')
    return {name: getattr(env, name) for name in SYNTAX}


def templates(env):
    loader = env.loader
    if loader is None:
        return {}
    if type(loader) is jinja2.DictLoader:
        return dict(loader.mapping)
    raise CannotSay('loaders in Python')


def as_ansible(env, native):
    """An environment with the same options, and otherwise as Ansible has it."""
    made = (jinja2.nativetypes.NativeEnvironment if native else jinja2.Environment)(
        undefined=jinja2.StrictUndefined, extensions=['jinja2.ext.do', 'jinja2.ext.loopcontrols'],
        finalize=None if native else (lambda value: '' if value is None else value),
        loader=env.loader, **{name: getattr(env, name) for name in SYNTAX})
    return made


def record(env, source, args, kwargs, is_expression=False):
    try:
        if not isinstance(source, str):
            raise CannotSay('templates made of syntax trees')
        native = type(env).__name__ == 'NativeEnvironment'
        if native:
            raise CannotSay('values of other types than text, where Ansible has rules of its own')
        context = dict(*args, **kwargs)
        case = dict(test=current[0], source=source, options=options(env), templates=templates(env),
                    context=plain(context))
        key = json.dumps([case[k] for k in ('source', 'options', 'templates', 'context')] + [is_expression], sort_keys=True)
        if key in seen:
            return
        seen.add(key)
        again = as_ansible(env, native)
        case['kind'] = 'expression' if is_expression else 'text'
        try:
            if is_expression:
                case['answer'] = plain(again.compile_expression(source, undefined_to_none=False)(**context))
            else:
                case['answer'] = again.from_string(source).render(**context)
        except CannotSay:
            raise
        except Exception as error:
            case['error'] = f'{type(error).__name__}: {error}'
        cases.append(case)
    except CannotSay as why:
        left_out[str(why)] += 1
    except Exception as why:
        left_out[f'other: {why!r}'[:60]] += 1


busy = [False]


def watched(call):
    def inner(*args, **kwargs):
        # What recording itself renders is no case.
        if busy[0]:
            return call(*args, **kwargs)
        busy[0] = True
        # Recording must not take the suite's next random numbers.
        state = random.getstate()
        try:
            return call(*args, **kwargs)
        finally:
            busy[0] = False
            random.setstate(state)
    return inner


record = watched(record)
original = dict(from_string=jinja2.Environment.from_string, render=jinja2.Template.render,
                expression=jinja2.Environment.compile_expression, get=jinja2.Environment.get_template)


def from_string(self, source, *args, **kwargs):
    try:
        template = original['from_string'](self, source, *args, **kwargs)
    except jinja2.TemplateSyntaxError:
        if not busy[0]:
            record(self, source, (), {})
        raise
    template._source_of_case = source
    return template


def get_template(self, name, *args, **kwargs):
    template = original['get'](self, name, *args, **kwargs)
    if isinstance(name, str) and type(self.loader) is jinja2.DictLoader and not busy[0]:
        template._source_of_case = self.loader.mapping.get(name)
    return template


def render(self, *args, **kwargs):
    source = getattr(self, '_source_of_case', None)
    if not busy[0]:
        if source is None:
            left_out['templates that come from elsewhere'] += 1
        else:
            record(self.environment, source, args, kwargs)
    return original['render'](self, *args, **kwargs)


def compile_expression(self, source, *args, **kwargs):
    made = original['expression'](self, source, *args, **kwargs)

    def called(*call_args, **call_kwargs):
        if not busy[0]:
            record(self, source, call_args, call_kwargs, True)
        return made(*call_args, **call_kwargs)
    return called


jinja2.Environment.from_string = from_string
jinja2.Environment.get_template = get_template
jinja2.Environment.compile_expression = compile_expression
jinja2.Template.render = render


class Names:
    def pytest_runtest_setup(self, item):
        current[0] = item.nodeid.split('/')[-1]


out = sys.stdout
sys.stdout = sys.stderr
status = pytest.main(['-q', '-p', 'no:cacheprovider', '-x', '--no-header', '-W', 'ignore', sys.argv[1],
                      # Patterns are taken from the folder that pytest is started in.
                      f'--ignore-glob={sys.argv[1]}/*async*', f'--ignore-glob={sys.argv[1]}/*loader*'], plugins=[Names()])
sys.stdout = out
if status:
    sys.exit(f"Jinja2's own tests fail here: {status}")
for case in cases:
    print(json.dumps(case))
print(json.dumps(dict(left_out=dict(left_out.most_common()))))
