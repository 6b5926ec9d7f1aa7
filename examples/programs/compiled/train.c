// A small network that tells two spirals apart, trained by stochastic gradient descent. It needs nothing but C:
//
//     train RATE UNITS
//
// Its parameters are arguments; the rest of the protocol are variables of the environment and the file of reports.
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { POINTS = 400, TRAINING = 300, MOST_UNITS = 256 };

static struct {
	int units;
	double in[MOST_UNITS][3], out[MOST_UNITS], bias;
	uint64_t chance;
} net;

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static double uniform(void) { // xorshift64*
	net.chance ^= net.chance >> 12;
	net.chance ^= net.chance << 25;
	net.chance ^= net.chance >> 27;
	return (double)((net.chance * 0x2545F4914F6CDD1DULL) >> 11) / 9007199254740992.0;
}

static long number(const char *name) {
	const char *text = getenv(name);
	if (text == NULL) {
		fprintf(stderr, "%s is not set: a worker of Trellis starts this program\n", name);
		exit(1);
	}
	return atol(text);
}

static double forward(const double point[2], double hidden[]) {
	double sum = net.bias;
	for (int i = 0; i < net.units; i++) {
		hidden[i] = tanh(net.in[i][0] * point[0] + net.in[i][1] * point[1] + net.in[i][2]);
		sum += net.out[i] * hidden[i];
	}
	return 1 / (1 + exp(-sum));
}

static void step(const double point[2], int label, double rate) {
	double hidden[MOST_UNITS];
	double error = forward(point, hidden) - label;
	for (int i = 0; i < net.units; i++) {
		double back = error * net.out[i] * (1 - hidden[i] * hidden[i]);
		net.out[i] -= rate * error * hidden[i];
		net.in[i][0] -= rate * back * point[0];
		net.in[i][1] -= rate * back * point[1];
		net.in[i][2] -= rate * back;
	}
	net.bias -= rate * error;
}

// The state, the generator of random numbers included, is written and read as it lies in memory.
static void save(const char *folder) {
	char path[64];
	snprintf(path, sizeof path, "%s/net", folder);
	if (mkdir(folder, 0700) != 0) fail(folder);
	FILE *file = fopen(path, "wb");
	if (file == NULL || fwrite(&net, sizeof net, 1, file) != 1 || fclose(file) != 0) fail(path);
}

static void load(const char *folder) {
	char path[4096];
	snprintf(path, sizeof path, "%s/net", folder);
	FILE *file = fopen(path, "rb");
	if (file == NULL || fread(&net, sizeof net, 1, file) != 1) fail(path);
	fclose(file);
}

int main(int count, char **arguments) {
	if (count != 3) {
		fprintf(stderr, "usage: train RATE UNITS\n");
		return 2;
	}
	double rate = atof(arguments[1]);
	int units = atoi(arguments[2]);
	if (rate <= 0 || units < 1 || units > MOST_UNITS) {
		fprintf(stderr, "RATE must be positive, UNITS from 1 to %d\n", MOST_UNITS);
		return 2;
	}

	static double points[POINTS][2];
	static int labels[POINTS];
	net.chance = 88172645463325252ULL; // The points are the same in every run.
	for (int i = 0; i < POINTS; i++) {
		double distance = 0.2 + uniform(), angle = 4 * distance + (labels[i] = i % 2) * 3.14159265;
		points[i][0] = distance * cos(angle) + 0.03 * (uniform() - 0.5);
		points[i][1] = distance * sin(angle) + 0.03 * (uniform() - 0.5);
	}

	net.units = units;
	net.chance = 0x9E3779B97F4A7C15ULL * (uint64_t)(number("TRELLIS_SEED") + 1);
	for (int i = 0; i < units; i++) {
		for (int j = 0; j < 3; j++) net.in[i][j] = 4 * (uniform() - 0.5);
		net.out[i] = (uniform() - 0.5) / sqrt(units);
	}
	if (getenv("TRELLIS_RESUME") != NULL) load(getenv("TRELLIS_RESUME"));

	long last = number("TRELLIS_LAST_EPOCH");
	for (long epoch = number("TRELLIS_FIRST_EPOCH"); epoch <= last; epoch++) {
		for (int i = 0; i < 2 * TRAINING; i++) {
			int chosen = (int)(uniform() * TRAINING);
			step(points[chosen], labels[chosen], rate);
		}
		int right = 0;
		double loss = 0, hidden[MOST_UNITS];
		for (int i = TRAINING; i < POINTS; i++) {
			double chance = forward(points[i], hidden);
			right += (chance > 0.5) == labels[i];
			loss -= log(fmax(labels[i] ? chance : 1 - chance, 1e-12));
		}

		char folder[32];
		snprintf(folder, sizeof folder, "epoch-%ld", epoch);
		save(folder);
		FILE *reports = fopen(getenv("TRELLIS_REPORTS"), "a");
		if (reports == NULL) fail("TRELLIS_REPORTS");
		fprintf(reports, "{\"epoch\": %ld, \"val_loss\": %.17g, \"val_acc\": %.17g, \"checkpoint\": \"%s\"}\n", epoch,
			loss / (POINTS - TRAINING), (double)right / (POINTS - TRAINING), folder);
		if (fclose(reports) != 0) fail("TRELLIS_REPORTS");
	}
	return 0;
}
