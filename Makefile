# `make demo` and `make test` work in a fresh clone with nothing but Python 3.11+ and make.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

# What `make sweep` runs, and where.
P ?= workflow/params/smoke.yaml
PROFILE ?= workflow/profiles/local

# Small networks on a busy machine: threads that wait for each other cost more than they bring.
export OMP_NUM_THREADS ?= 1
export HF_HUB_OFFLINE ?= 1

.PHONY: help demo test sweep papers fuzz notebooks figures lint clean

help:
	@echo "make demo       fetch the language model, caption recordings with and without guidance, write runs/demo.png"
	@echo "make test       run every test, notebooks included"
	@echo "make sweep      run a grid of presets, options and data: P=workflow/params/smoke.yaml, see workflow/README.md"
	@echo "make papers     make the papers' tables with networks of the project: data/results/papers (three hours)"
	@echo "make fuzz       give zscap 20,000 damaged and hostile inputs, and kill 60 runs"
	@echo "make notebooks  execute the numbered notebooks anew, in place"
	@echo "make figures    draw every figure from data/results"
	@echo "make lint       check style"

demo: $(STAMP)
	$(BIN)/zscap fetch small
	$(BIN)/python demo.py

test: $(STAMP)
	$(BIN)/zscap fetch small
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --nbval notebooks/[01]*.ipynb

sweep: $(STAMP)
	$(BIN)/snakemake --profile $(PROFILE) --configfile $(P)

papers: $(STAMP)
	$(BIN)/zscap fetch small
	for table in $$($(BIN)/zscap paper | cut -d' ' -f1); do for family in embedded small; do \
		$(BIN)/zscap paper $$table --presets $$family --data soundscapes --out runs/papers/$$table-$$family > /dev/null || exit 1; \
		cp runs/papers/$$table-$$family/table.csv data/results/papers/$$table-$$family.csv; \
	done; done

fuzz: $(STAMP)
	$(BIN)/python tests/fuzz.py
	$(BIN)/python tests/kills.py

notebooks: $(STAMP)
	$(BIN)/zscap fetch small
	for notebook in notebooks/[01]*.ipynb; do $(BIN)/papermill --no-progress-bar $$notebook $$notebook || exit 1; done
	$(BIN)/nbstripout --keep-output --keep-count --extra-keys \
		"metadata.papermill cell.metadata.papermill cell.metadata.execution metadata.language_info.version" notebooks/*.ipynb

figures: $(STAMP)
	$(BIN)/zscap run 09 -p figures_folder figures

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up .venv (a minute or two, about 2 GB) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable ".[evaluation,notebooks,sweep,test]"
	@touch $@

clean:
	rm -rf .venv runs/*
