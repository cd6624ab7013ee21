"""Everything that an error may show of itself: to a reader, a log, a crash report with locals, or another process."""

import pickle
import traceback


def chain(exc):
    """The error, and all that hangs on it: causes, contexts (suppressed ones too), and the errors of other batches."""
    found, todo = [], [exc]
    while todo:
        each = todo.pop()
        if each is not None and each not in found:
            found.append(each)
            todo += [each.__cause__, each.__context__, *getattr(each, "others", ()), *getattr(each, "exceptions", ())]
    return found


def in_words(exc):
    """Messages, reprs, attributes and plain tracebacks of the whole chain, and the pickle."""
    parts = [pickle.dumps(exc).decode("latin-1")]
    for each in chain(exc):
        parts += [str(each), repr(each), repr(each.args), repr(vars(each))]
        # Exceptions of the standard library keep what they were about: JSONDecodeError.doc, UnicodeError.object.
        parts += [repr(getattr(each, name, None)) for name in ("doc", "object", "request_info", "headers", "message")]
        parts += traceback.format_exception(each)
    return "\n".join(parts)


def with_locals(exc):
    """The tracebacks of the whole chain, with the locals of each frame."""
    parts = []
    for each in chain(exc):
        shown = traceback.TracebackException(type(each), each, each.__traceback__, capture_locals=True)
        parts += shown.format(chain=False)
    return "\n".join(parts)
