#!/usr/bin/env python3
"""Makes the tables in this folder from the published files (README.md says where those are): convert.py FOLDER_OF_THE_ORIGINALS"""
import collections
import csv
import pathlib
import sys

here = pathlib.Path(__file__).parent
originals = pathlib.Path(sys.argv[1])


def read(name):
    with open(originals / name, encoding="utf-8-sig", newline="") as f:
        return list(csv.DictReader(f))


def write(name, columns, rows):
    with open(here / name, "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(columns)
        out.writerows(rows)


def number(x):
    return f"{float(x):.6g}"


write("a100-opt-125m.csv", ["rate", "concurrency", "out_tokens", "itl_ms"],
      [[number(float(r["RPM"]) / 60), r["avgConcurrency"], r["tokens"], r["avgITL"]] for r in read("a100-opt-125m/measured.csv")])

# Means over repetitions. The pcap rows are computed, not measured; at batch 64 two GPUs had run out of memory.
groups = collections.defaultdict(list)
for r in read("splitwise-perf/perf_model.csv"):
    if r["hardware"].endswith("-pcap") or (r["tensor_parallel"] == "2" and r["batch_size"] == "64"):
        continue
    series = f'{r["model"]} {r["tensor_parallel"]}x{r["hardware"]}'
    groups[series, int(r["prompt_size"]), int(r["token_size"]), int(r["batch_size"])].append(
        (float(r["prompt_time"]), float(r["token_time"])))
write("splitwise-perf.csv", ["series", "in_tokens", "out_tokens", "concurrency", "ttft_ms", "itl_ms"],
      [[*key, number(sum(p for p, _ in times) / len(times)), number(sum(t for _, t in times) / len(times))]
       for key, times in groups.items()])

# Aggregated serving only: a server that prefills and decodes. Data-parallel rows are several servers behind one address.
rows = []
for r in read("aic-silicon/silicon_sample_trtllm_hopper.csv"):
    if r["mode"] != "agg" or r["attention_dp_size"] not in ("", "1"):
        continue
    engine = f'{r["backend"]} {r["backend_version"] or "?"}'
    series = f'{r["model_path"].split("/")[-1]} {r["precision"] or "bf16"} {r["system"].split("_")[0]} tp{r["tp_size"]} ep{r["moe_ep_size"]} {engine}'
    rows.append([series, int(r["isl"]), int(r["osl"]), int(r["batch_size"]), number(r["silicon_ttft_ms"]), number(r["silicon_tpot_ms"])])
write("aic-silicon.csv", ["series", "in_tokens", "out_tokens", "concurrency", "ttft_ms", "itl_ms"], sorted(rows))

# Rates and requests under way of one replica.
rows = []
for r in read("llmd-bench/measured.csv"):
    replicas = 2 if "2replicas" in r["exp"] else 1
    rows.append([f'{r["exp"].split("/")[1]} {r["workload"]}', number(float(r["rate_actual"]) / replicas), r["ia_cv"],
                 number(float(r["mean_concurrency"]) / replicas), r["prompt_mean"], r["out_mean"], r["ttft_ms_mean"],
                 r["tok_weighted_itl_ms"]])
write("llmd-bench.csv", ["series", "rate", "arrival_cv", "concurrency", "in_tokens", "out_tokens", "ttft_ms", "itl_ms"], rows)

write("iog-vllm.csv", ["series", "offered_rate", "rate", "concurrency", "in_tokens", "out_tokens", "requests", "ttft_ms", "itl_ms"],
      [[f'{r["model"]} {r["gpu"]}', r["qps"], r["thr"], r["conc"], r["il"], r["ol"], r["n"], r["ttft"], r["itl"]]
       for r in read("iog-vllm/measured.csv")])

prices = {r["GPU"].replace(" ", ""): r["price"] for r in read("llm-pilot/prices.csv")}
rows = []
for r in read("llm-pilot/measured.csv"):
    gpu = f'{r["n_gpus"]}x{r["gpu_type"].upper()}'
    rows.append([r["model"], gpu, prices[gpu], r["num_users"], r["errors"], r["completed"], r["req_per_s"], r["in_tok_mean"],
                 r["out_tok_mean"], r["ttft_ms_mean"], r["itl_ms_mean"]])
write("llm-pilot.csv", ["model", "gpu", "price", "concurrency", "errors", "completed", "rate", "in_tokens", "out_tokens", "ttft_ms",
                        "itl_ms"], rows)
