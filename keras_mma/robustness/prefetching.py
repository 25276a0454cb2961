"""Images that a thread reads and changes while the model runs."""

import contextlib
import contextvars
import queue
import threading

#: How many items wait at most.
DEPTH = 2
_END = object()


@contextlib.contextmanager
def prefetch(items):
    """Compute the items of an iterable in a thread, at most `DEPTH` of them before they are needed.

    The thread has ended when the `with` block is left, also by an exception. It finishes the item that it computes.

    Args:
        items: An iterable, such as a generator. Only the thread iterates over it.

    Yields:
        An iterator over the same items in the same order. It raises what the iterable raises, with its traceback.
    """
    results, stopped = queue.Queue(DEPTH), threading.Event()

    def work():
        try:
            for item in items:
                if stopped.is_set():
                    return
                results.put((item, None))
            last = (_END, None)
        except BaseException as error:
            last = (_END, error)
        if not stopped.is_set():
            results.put(last)

    def iterate():
        while True:
            item, error = results.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item

    # NumPy, among others, keeps settings in the context, which a thread does not share by itself.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="prefetch", daemon=True)
    thread.start()
    try:
        yield iterate()
    finally:
        stopped.set()
        # The thread puts at most one more item, for which an empty queue has room.
        with contextlib.suppress(queue.Empty):
            while True:
                results.get_nowait()
        thread.join()
