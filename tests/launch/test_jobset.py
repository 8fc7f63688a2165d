"""`launch/jobset.yaml` without a cluster: the fields that it relies on, and no others."""

import math
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from contrastive_jax.runtime import preemption

ROOT = Path(__file__).parents[2]
POSITIVE = {'type': 'integer', 'minimum': 1}
TEXT = {'type': 'string', 'minLength': 1}
TPU = 'google.com/tpu'


def closed(**properties):
    """An object with these fields, all of them, so that a misspelt one is seen."""
    return {
        'type': 'object',
        'properties': properties,
        'required': list(properties),
        'additionalProperties': False,
    }


def rows(items):
    return {'type': 'array', 'items': items, 'minItems': 1}


CONTAINER = closed(
    name=TEXT,
    image=TEXT,
    command=rows(TEXT),
    env=rows(closed(name=TEXT, value=TEXT)),
    resources=closed(requests=closed(**{TPU: POSITIVE}), limits=closed(**{TPU: POSITIVE})),
    volumeMounts=rows(closed(name=TEXT, mountPath={'type': 'string', 'pattern': '^/'})),
)
VOLUME = {
    'oneOf': [
        closed(name=TEXT, persistentVolumeClaim=closed(claimName=TEXT)),
        closed(name=TEXT, emptyDir=closed(medium={'const': 'Memory'})),
    ]
}
POD = closed(
    restartPolicy={'const': 'Never'},
    terminationGracePeriodSeconds=POSITIVE,
    nodeSelector=closed(
        **{
            'cloud.google.com/gke-tpu-accelerator': TEXT,
            'cloud.google.com/gke-tpu-topology': {
                'type': 'string',
                'pattern': '^[0-9]+(x[0-9]+){1,2}$',
            },
        }
    ),
    containers={**rows(CONTAINER), 'maxItems': 1},
    volumes=rows(VOLUME),
)
JOB = closed(
    completions=POSITIVE,
    parallelism=POSITIVE,
    completionMode={'const': 'Indexed'},
    backoffLimit={'const': 0},
    podFailurePolicy=closed(
        rules=rows(
            closed(
                action={'const': 'FailJob'},
                onExitCodes=closed(
                    containerName=TEXT, operator={'const': 'In'}, values=rows(POSITIVE)
                ),
            )
        )
    ),
    template=closed(spec=POD),
)
JOBSET = closed(
    apiVersion={'const': 'jobset.x-k8s.io/v1alpha2'},
    kind={'const': 'JobSet'},
    metadata=closed(
        name={'type': 'string', 'pattern': '^[a-z]([a-z0-9-]*[a-z0-9])?$'},
        annotations=closed(
            **{
                'alpha.jobset.sigs.k8s.io/exclusive-topology': {
                    'const': 'cloud.google.com/gke-nodepool'
                }
            }
        ),
    ),
    spec=closed(
        failurePolicy=closed(
            maxRestarts=POSITIVE,
            rules=rows(
                closed(
                    action={'const': 'RestartJobSetAndIgnoreMaxRestarts'},
                    onJobFailureReasons=rows({'const': 'PodFailurePolicy'}),
                )
            ),
        ),
        replicatedJobs={
            **rows(closed(name=TEXT, replicas={'const': 1}, template=closed(spec=JOB))),
            'maxItems': 1,
        },
    ),
)


@pytest.fixture
def manifest():
    return yaml.safe_load((ROOT / 'launch/jobset.yaml').read_text())


def test_fits_the_schema(manifest):
    jsonschema.Draft202012Validator.check_schema(JOBSET)
    jsonschema.validate(manifest, JOBSET, jsonschema.Draft202012Validator)


def test_lines_for_a_bucket_fit_once_they_are_uncommented():
    text = (ROOT / 'launch/jobset.yaml').read_text()
    manifest = yaml.safe_load(re.sub(r'# (.+# BUCKET)', r'\1', text))
    pod = manifest['spec']['replicatedJobs'][0]['template']['spec']['template']
    # A text: Kubernetes refuses an annotation that is a boolean.
    assert pod.pop('metadata') == {'annotations': {'gke-gcsfuse/volumes': 'true'}}
    assert pod['spec'].pop('serviceAccountName') == 'runs'
    jsonschema.validate(manifest, JOBSET, jsonschema.Draft202012Validator)


def test_schema_sees_a_misspelt_field(manifest):
    manifest['spec']['failurePolcy'] = manifest['spec'].pop('failurePolicy')
    with pytest.raises(jsonschema.ValidationError, match='failurePol'):
        jsonschema.validate(manifest, JOBSET, jsonschema.Draft202012Validator)


def test_pods_fill_the_slice(manifest):
    job = manifest['spec']['replicatedJobs'][0]['template']['spec']
    pod = job['template']['spec']
    resources = pod['containers'][0]['resources']
    topology = pod['nodeSelector']['cloud.google.com/gke-tpu-topology']
    chips = math.prod(int(side) for side in topology.split('x'))
    assert job['completions'] == job['parallelism']
    assert resources['requests'] == resources['limits']
    assert job['completions'] * resources['limits'][TPU] == chips


def test_pods_that_were_taken_away_are_no_failures(manifest):
    job = manifest['spec']['replicatedJobs'][0]['template']['spec']
    (rule,) = job['podFailurePolicy']['rules']
    (container,) = job['template']['spec']['containers']
    assert rule['onExitCodes']['containerName'] == container['name']
    assert rule['onExitCodes']['values'] == [preemption.STATUS]


def test_command_writes_to_the_claim(manifest):
    pod = manifest['spec']['replicatedJobs'][0]['template']['spec']['template']['spec']
    container = pod['containers'][0]
    mounts = {mount['name']: mount['mountPath'] for mount in container['volumeMounts']}
    claims = [volume['name'] for volume in pod['volumes'] if 'persistentVolumeClaim' in volume]
    assert set(mounts) == {volume['name'] for volume in pod['volumes']}
    assert [mounts[name] for name in claims] == ['/runs']
    assert container['command'][:4] == ['python', '-m', 'contrastive_jax.main', '--distributed']
    flags = dict(flag.split('=', 1) for flag in container['command'][4:])
    assert flags['--workdir'].startswith('/runs/')
    assert (ROOT / flags['--config'].partition(':')[0]).is_file()
