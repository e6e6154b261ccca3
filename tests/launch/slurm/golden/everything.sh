#!/bin/bash

# Parameters
#SBATCH --account=energy
#SBATCH --array=0-3%3
#SBATCH --chdir=FOLDER
#SBATCH --comment='harness ID'
#SBATCH --constraint='h100&nvlink'
#SBATCH --cpus-per-task=8
#SBATCH --exclude=n3
#SBATCH --exclusive
#SBATCH --gpus-per-node=2
#SBATCH --gres=scratch:100G
#SBATCH --job-name=suite-ID-0
#SBATCH --mail-type=END,FAIL
#SBATCH --mem=64G
#SBATCH --nice=100
#SBATCH --nodelist='n[1-4]'
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
#SBATCH --open-mode=append
#SBATCH --output=FOLDER/results/submissions/ID/logs/%A_%a_0_log.out
#SBATCH --overcommit
#SBATCH --partition=gpu
#SBATCH --qos=long
#SBATCH --requeue
#SBATCH --reservation=spring
#SBATCH --signal=USR2@300
#SBATCH --time=1590

# setup
module load cuda/12.8
ulimit -c 0
export GREETING='it'"'"'s $HOME; "quoted"'
export NCCL_DEBUG=WARN
export THREADS=8
export PYTHONPATH=FOLDER/results/submissions/ID/code"${PYTHONPATH:+:$PYTHONPATH}"

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output FOLDER/results/submissions/ID/logs/%A_%a_%t_log.out --kill-on-bad-exit=1 --wait=0 --cpus-per-task=8 --mpi=none --cpu-bind=cores bash -c 'trap '"'"''"'"' USR2; exec "$@"' run apptainer exec --nv 'an image.sif' '/envs/energy based/bin/python' -u -P -m harness.launch.slurm.task FOLDER/results/submissions/ID 0


# teardown
code=$?
if rm FOLDER/results/submissions/ID/requeue/"$SLURM_JOB_ID" 2>/dev/null; then scontrol requeue "$SLURM_JOB_ID"; fi
exit $code
