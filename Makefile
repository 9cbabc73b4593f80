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

.PHONY: help demo test sweep papers results fuzz notebooks figures docs lint clean

help:
	@echo "make demo       fetch networks and ten recordings, caption them and rendered mixtures, write runs/demo.png"
	@echo "make test       run every test, notebooks included"
	@echo "make sweep      run a grid of presets, options and data: P=workflow/params/smoke.yaml, see workflow/README.md"
	@echo "make papers     make the papers' tables with networks of the project: data/results/papers (three hours)"
	@echo "make results    measure all other tables of data/results anew: needs ZSCAP_DATA (hours)"
	@echo "make fuzz       give zscap 20,000 damaged and hostile inputs, and kill 60 runs"
	@echo "make notebooks  execute the numbered notebooks anew, in place"
	@echo "make figures    draw every figure from data/results"
	@echo "make docs       build the site to read without running, offline: build/docs/html/index.html"
	@echo "make lint       check style"

demo: $(STAMP)
	$(BIN)/zscap fetch small
	$(BIN)/zscap fetch recordings
	$(BIN)/python demo.py

test: $(STAMP)
	$(BIN)/zscap fetch small
	$(BIN)/zscap fetch recordings
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 10 \
		--nbval --nbval-cell-timeout 1800 notebooks/[01]*.ipynb tests

sweep: $(STAMP)
	$(BIN)/snakemake --profile $(PROFILE) --configfile $(P)

papers: $(STAMP)
	$(BIN)/zscap fetch small
	for table in $$($(BIN)/zscap paper | cut -d' ' -f1); do for family in embedded small; do \
		$(BIN)/zscap paper $$table --presets $$family --data soundscapes --out runs/papers/$$table-$$family > /dev/null || exit 1; \
		for end in csv json; do cp runs/papers/$$table-$$family/table.$$end data/results/papers/$$table-$$family.$$end; done; \
	done; done

# Networks that have not heard what is asked of them, and the one that measures fluency: what ships learnt from all.
runs/audio_encoder/without_4.pt runs/audio_encoder/without_1.pt: | $(STAMP)
	$(BIN)/zscap run 91
	$(BIN)/zscap run 92 -p test_folds "[4, 1]"

runs/small_audio_encoder/without_4.pt: | $(STAMP)
	$(BIN)/zscap run 98

runs/second_language_model/config.json: | $(STAMP)
	$(BIN)/zscap run 90 -p seed 1 -p audio_share 0.5 -p layers 3 -p vocabulary 4096 \
		-p steps 700 -p second_steps 10 -p output_folder runs/second_language_model

RESULTS := -p results_folder data/results

results: $(STAMP) runs/audio_encoder/without_4.pt runs/audio_encoder/without_1.pt \
		runs/small_audio_encoder/without_4.pt runs/second_language_model/config.json
	$(BIN)/zscap fetch small
	$(BIN)/zscap run 02 -p data published -p results data/results/classifier.csv
	$(BIN)/zscap run 02 -p model small -p data published -p results data/results/small_classifier.csv
	$(BIN)/zscap run 05 -p recordings esc10 -p clips_per_class 8 -p fold 1 -p choose true $(RESULTS)
	$(BIN)/zscap run 05 -p recordings esc10 -p clips_per_class 8 $(RESULTS)
	$(BIN)/zscap run 07 -p judgements "$(ZSCAP_DATA)/judgements" $(RESULTS)
	for notebook in 93 94 95 96 99; do $(BIN)/zscap run $$notebook $(RESULTS) || exit 1; done
	for study in events prompts unexplained; do $(BIN)/python -m studies.$$study || exit 1; done
	OMP_NUM_THREADS= $(BIN)/python studies/invariance.py

fuzz: $(STAMP)
	$(BIN)/python tests/fuzz.py
	$(BIN)/python tests/kills.py

notebooks: $(STAMP)
	$(BIN)/zscap fetch small
	$(BIN)/zscap fetch recordings
	for notebook in notebooks/[01]*.ipynb; do $(BIN)/papermill --no-progress-bar $$notebook $$notebook || exit 1; done
	$(BIN)/nbstripout --keep-output --keep-count --extra-keys \
		"metadata.papermill cell.metadata.papermill cell.metadata.execution metadata.language_info.version" notebooks/*.ipynb

figures: $(STAMP)
	$(BIN)/zscap run 09 -p figures_folder figures

docs: $(STAMP)
	rm -rf build/docs
	$(BIN)/sphinx-build --quiet --fail-on-warning -c docs -d build/docs/doctrees . build/docs/html
	@echo "The site: build/docs/html/index.html"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up .venv (a minute or two, about 2 GB) ..."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable ".[docs,evaluation,notebooks,small,sweep,test,vision]"
	@touch $@

clean:
	rm -rf .venv runs/* build/docs
