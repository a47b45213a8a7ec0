"""Variant (d): the result aggregator as a program that makes one call at a time.

It reads batches, but every other call to Redis is made for one event and awaited before the next, and nothing ties an
event's effects to its acknowledgement.

    python3 original.py URL BATCH
"""

import asyncio
import json
import sys

import redis.asyncio as redis

STREAM = "risk-assessment-results"
GROUP = "result-aggregator"
CONSUMER = "python-1"
FIELD = b"data"
LATEST_TTL_S = 300
ALERTS_KEPT = 100
BLOCK_MS = 1000


async def handle(client, event_id, fields):
    """Handles one event."""
    assessment = json.loads(fields[FIELD])
    camera = assessment["cameraId"]
    risk = assessment["riskAssessment"]
    detected = assessment.get("detectedObjects", [])
    request = assessment.get("requestId")
    if request is not None:
        detection = await client.get(f"detection:{request}")
        if detection is not None:
            detected = json.loads(detection)["detectedObjects"]
    result = json.dumps(
        {
            "cameraId": camera,
            "timestamp": assessment["timestamp"],
            "detectedObjects": detected,
            "trafficGroups": assessment["trafficGroups"],
            "riskAssessment": {
                "maxRiskLevel": risk["maxRiskLevel"],
                "hasDangerousDriving": risk["hasDangerousDriving"],
            },
            "llmLatency": assessment.get("llmLatency"),
            "llmModel": assessment.get("llmModel"),
        }
    )
    await client.publish(f"camera:{camera}", result)
    await client.setex(f"camera:{camera}:latest", LATEST_TTL_S, result)
    if risk["maxRiskLevel"] in ("high", "critical") or risk["hasDangerousDriving"]:
        await client.lpush(f"alerts:{camera}", result)
        await client.ltrim(f"alerts:{camera}", 0, ALERTS_KEPT - 1)
    await client.xack(STREAM, GROUP, event_id)


async def main(url, batch):
    """Consumes until the process is ended."""
    client = redis.from_url(url)
    await client.ping()
    print("ready", flush=True)
    sys.stdin.readline()
    while True:
        read = await client.xreadgroup(GROUP, CONSUMER, {STREAM: ">"}, count=batch, block=BLOCK_MS)
        for _, events in read:
            for event_id, fields in events:
                await handle(client, event_id, fields)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
