# SPDX-License-Identifier: Apache-2.0
"""Many clients writing at once, each with a World of its own under its own prefix, until the server goes away."""
import random
import threading

from . import proc
from .model import Died, Refused, World

KIB, MIB = 1024, 1024 * 1024


class Client(threading.Thread):
    def __init__(self, f, bucket, prefix, seed, ops, kinds):
        super().__init__(daemon=True)
        self.f, self.bucket, self.prefix = f, bucket, prefix
        self.rnd = random.Random(f"{seed} {prefix}")
        self.ops, self.kinds = ops, kinds
        self.w = World()
        self.n = 0
        self.failure = None
        self.refused = None

    def run(self):
        try:
            while self.ops is None or self.n < self.ops:
                self.step()
                self.n += 1
        except Died:
            pass
        except Refused as e:
            self.refused = e
        except BaseException as e:  # shown by Storm.check
            self.failure = e

    def body(self):
        r = self.rnd
        size = r.choice([0, r.randrange(1, 4 * KIB), r.randrange(4 * KIB, 64 * KIB), r.randrange(64 * KIB, 400 * KIB)])
        if r.random() < 0.03:
            size = r.randrange(1 * MIB, 3 * MIB)
        return r.randbytes(size)

    def any_key(self):
        mine = [k for _, k in self.w.state]
        return self.rnd.choice(mine) if mine else None

    def step(self):
        r, f, w, b = self.rnd, self.f, self.w, self.bucket
        kind = r.choice(self.kinds)
        old = self.any_key()
        new = f"{self.prefix}{r.randrange(40)}"
        if kind == "put" or old is None:
            w.put(f, b, new, self.body())
        elif kind == "overwrite":
            w.put(f, b, old, self.body())
        elif kind == "delete":
            w.delete(f, b, old)
        elif kind == "copy":
            if new != old:
                w.copy(f, b, old, new)
        elif kind == "rename":
            w.rename(f, b, old, f"{self.prefix}r{self.n}")  # mv does not replace
        elif kind == "mpu":
            u = w.upload(f, b, new)
            w.part(f, u, 1, r.randbytes(5 * MIB))
            w.part(f, u, 2, self.body())
            w.complete(f, u)
        else:
            raise AssertionError(kind)


class Storm:
    def __init__(self, f, bucket="demo", clients=6, seed=1, ops=None, kinds=("put", "put", "overwrite", "delete", "copy")):
        self.f, self.bucket = f, bucket
        self.clients = [Client(f, bucket, f"c{i}/", seed, ops, kinds) for i in range(clients)]

    def start(self):
        for c in self.clients:
            c.start()
        return self

    def join(self, timeout=120):
        for c in self.clients:
            c.join(timeout * proc.SLOW)
            assert not c.is_alive(), "a client hangs"
            if c.failure:
                raise c.failure
        return self

    def acknowledged(self):
        return sum(c.n for c in self.clients)

    def check(self):
        """Every client's history holds in what is there now; returns the namespace."""
        seen = self.f.namespace(self.bucket)
        known = 0
        for c in self.clients:
            mine = {(self.bucket, k): v for k, v in seen.items() if k.startswith(c.prefix)}
            known += len(mine)
            c.w.match(mine)
        assert known == len(seen), f"objects nobody wrote: {sorted(seen)}"
        for c in self.clients:
            c.w.check_uploads(self.f)
        return self.f.namespace(self.bucket)
