#!/bin/bash

# Parameters
#SBATCH --array=0-3%4
#SBATCH --chdir=FOLDER
#SBATCH --comment='harness ID'
#SBATCH --cpus-per-task=1
#SBATCH --job-name=suite-ID-0
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=FOLDER/results/submissions/ID/logs/%A_%a_0_log.out
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=60

# setup
export PYTHONPATH=FOLDER/results/submissions/ID/code"${PYTHONPATH:+:$PYTHONPATH}"

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output FOLDER/results/submissions/ID/logs/%A_%a_%t_log.out --kill-on-bad-exit=1 --wait=0 --cpus-per-task=1 bash -c 'trap '"'"''"'"' USR2; exec "$@"' run PYTHON -u -P -m harness.launch.slurm.task FOLDER/results/submissions/ID 0


# teardown
code=$?
if rm FOLDER/results/submissions/ID/requeue/"$SLURM_JOB_ID" 2>/dev/null; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
