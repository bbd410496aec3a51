"""Holds the default solver against HiGHS: lower bound <= optimum <= plan, class by class, on many synthetic systems.

Usage: check.py SOLVER_CLASSES [SYSTEMS [SECONDS [FIRST_SEED]]]. SYSTEMS (200) are spread over sizes and tightnesses, with seeds from
FIRST_SEED (100) on; HiGHS has SECONDS (30) for each count and each value. Where that does not suffice, its own bounds are what is
asserted against. Those that were missed once come first. Exits 1 on the first contradiction, and where the plan is not as good as is
aimed at: every variant satisfied that can be, at most 0.3 % above the optimum, at most 1 % above it as claimed.
"""

import subprocess
import sys

import highspy
import numpy as np

SIZES = (300, 500, 700, 1000)
TIGHTNESS = (50, 100)
# Variants, per cent of the GPUs, seed: plans were 1.9 % and 1.1 % above the optimum, and a variant short, before there was a large
# neighbourhood search.
MISSED_ONCE = ((700, 50, 174), (1000, 100, 179), (1000, 50, 223), (1000, 100, 251))
MOST_ABOVE, MOST_CLAIMED = 0.003, 0.01
INF = highspy.kHighsInf


class Class:
    """One priority class: candidates (value, [(type, units)]) of every member, the room, and the plan's answer."""

    def __init__(self, head, lines):
        self.satisfied, self.value, self.cost = int(head[4]), float(head[5]), float(head[6])
        self.room = [float(x) for x in next(lines).split()]
        self.columns = []  # member, value, uses
        self.members = int(head[2])
        for member in range(self.members):
            words = iter(next(lines).split())
            for _ in range(int(next(words))):
                value, count = float(next(words)), int(next(words))
                uses = [(int(next(words)), float(next(words))) for _ in range(count)]
                if all(units <= self.room[t] for t, units in uses):
                    self.columns.append((member, value, uses))

    def solve(self, satisfied, seconds):
        """(optimum found, bound) of the least value with at least so many satisfied; None: of the most satisfied."""
        counting = satisfied is None
        types, n = len(self.room), self.members
        if not self.columns:
            return 0.0, 0.0
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self.columns), types + n + 1
        lp.col_cost_ = np.array([-1.0 if counting else value for _, value, _ in self.columns])
        lp.col_lower_, lp.col_upper_ = np.zeros(len(self.columns)), np.ones(len(self.columns))
        lp.row_lower_ = np.array([-INF] * (types + n) + [-INF if counting else satisfied])
        lp.row_upper_ = np.array(self.room + [1.0] * n + [INF])
        start, index, entry = [0], [], []
        for member, _, uses in self.columns:
            for t, units in uses:
                index.append(t)
                entry.append(units)
            index += [types + member, types + n]
            entry += [1.0, 1.0]
            start.append(len(index))
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.array(start, dtype=np.int32)
        lp.a_matrix_.index_ = np.array(index, dtype=np.int32)
        lp.a_matrix_.value_ = np.array(entry)
        lp.integrality_ = [highspy.HighsVarType.kInteger] * len(self.columns)
        highs = highspy.Highs()
        highs.setOptionValue("output_flag", False)
        highs.setOptionValue("threads", 1)
        highs.setOptionValue("mip_rel_gap", 1e-7)
        highs.setOptionValue("mip_abs_gap", 1e-4)
        highs.setOptionValue("time_limit", float(seconds))
        highs.passModel(lp)
        highs.run()
        info = highs.getInfo()
        return info.objective_function_value, info.mip_dual_bound


def check(text, seconds):
    """Returns (true gap, claimed gap, variants missed, seconds, proven by HiGHS) of one system."""
    lines = iter(text.splitlines())
    _, satisfiable, bound, gap, took = next(lines).split()
    satisfiable, bound, gap = int(satisfiable), float(bound), float(gap)
    plan = least = least_bound = cost = 0.0
    missed = most_found = 0
    proven = True
    for line in lines:
        one = Class(line.split(), lines)
        found, limit = (-x for x in one.solve(None, seconds))
        most = int(limit + 1e-6)
        assert one.satisfied <= most, f"{one.satisfied} satisfied, at most {most} can be"
        most_found += round(found)
        missed += max(0, round(found) - one.satisfied)
        value, value_bound = one.solve(one.satisfied, seconds)
        slack = 1e-6 * max(1.0, abs(value_bound))
        assert one.value >= value_bound - slack, f"plan {one.value} is below the optimum {value_bound}"
        proven = proven and abs(value - value_bound) <= 1e-3 + slack and most == round(found)
        plan += one.value
        cost += one.cost
        least += min(value, one.value)
        least_bound += value_bound
    assert satisfiable >= most_found, f"satisfiable {satisfiable}, but {most_found} were satisfied"
    assert bound <= least + 1e-6 * max(1.0, abs(least)), f"bound {bound} is above the optimum {least}"
    return (plan - least) / max(cost, 1e-9), gap, missed, float(took), proven


def main():
    program = sys.argv[1]
    systems = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 30
    first = int(sys.argv[4]) if len(sys.argv) > 4 else 100
    spread = [(SIZES[k % len(SIZES)], TIGHTNESS[k // len(SIZES) % len(TIGHTNESS)], first + k) for k in range(systems)]
    rows = {}
    short = 0
    for size, tightness, seed in [s for s in MISSED_ONCE if s not in spread] + spread:
        text = subprocess.run([program, str(size), str(tightness), str(seed)], check=True, capture_output=True, text=True).stdout
        try:
            row = check(text, seconds)
        except AssertionError as wrong:
            print(f"{size} variants, {tightness} %, seed {seed}: {wrong}")
            return 1
        if (size, tightness, seed) in spread:
            rows.setdefault((size, tightness), []).append(row)
        good = row[0] <= MOST_ABOVE and row[1] <= MOST_CLAIMED and row[2] == 0
        short += not good
        print(f"{size} variants, {tightness} %, seed {seed}: true gap {100 * row[0]:.4f} %, claimed {100 * row[1]:.4f} %, "
              f"missed {row[2]}, {1000 * row[3]:.0f} ms{'' if row[4] else ', not proven by HiGHS'}{'' if good else ': not good enough'}",
              flush=True)
    print("\n| variants | GPUs | systems | proven by HiGHS | true gap, worst | claimed gap, median / worst | variants missed |")
    print("|---|---|---:|---:|---:|---:|---:|")
    for (size, tightness), all_of in sorted(rows.items()):
        claimed = sorted(r[1] for r in all_of)
        print(f"| {size} | {tightness} % | {len(all_of)} | {sum(r[4] for r in all_of)} | {100 * max(r[0] for r in all_of):.3f} % | "
              f"{100 * claimed[len(claimed) // 2]:.3f} / {100 * claimed[-1]:.3f} % | {sum(r[2] for r in all_of)} |")
    if short:
        print(f"{short} are not as good as is aimed at")
    return min(short, 1)


if __name__ == "__main__":
    sys.exit(main())
